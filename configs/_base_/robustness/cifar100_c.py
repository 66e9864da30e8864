# Test on CIFAR-100-C: 15 corruptions at 5 severities, and their mean. Pictures go through the
# config's own pipeline. LTH_DATA_ROOT names the folder that holds CIFAR-100-C.
# Inherit from this beside a classifier's config of CIFAR-100.
__import__('lth_cls')  # brings the key, also from mmpretrain's own tools
robustness = dict(
    test=dict(
        type='CorruptionTestLoop',
        dataset=dict(type='CIFAR100C', data_root='{{$LTH_DATA_ROOT:data}}/CIFAR-100-C')))
