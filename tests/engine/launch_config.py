"""The config from which tests of the launch start."""

BASE = dict(
    default_scope='mmpretrain',
    model=dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18)),
    train_dataloader=dict(batch_size=4, num_workers=0),
    test_dataloader=dict(batch_size=4, dataset=dict(pipeline=[])),
    test_cfg=dict(),
    test_evaluator=dict(type='Accuracy'),
    optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
    default_hooks=dict(),
)
