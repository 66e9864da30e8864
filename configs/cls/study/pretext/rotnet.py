# RotNet: by how much has a digit been turned?
_base_ = './labels.py'

data_preprocessor = dict(type='RotationPreprocessor', num_classes=None)
val_evaluator = dict(_delete_=True, type='RotationAccuracy')
test_evaluator = val_evaluator
