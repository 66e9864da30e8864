# VOC detection from the MoCo v2 ticket at 89.26 % sparsity: (m_P, θ_P) of paper A, Fig. 5.
_base_ = [
    '../_base_/models/yolo_resnet50_spp_pan.py',
    '../_base_/datasets/voc0712_416.py',
    '../_base_/schedules/voc_det_50e.py',
    '../_base_/tickets/moco_90.py',
]
