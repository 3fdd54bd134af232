"""mmpretrain's preprocessor for batches of labels."""
import torch.nn.functional as F
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS

from ...datasets.label_batch import LabelBatch


@MODELS.register_module()
class BatchClsDataPreprocessor(ClsDataPreprocessor):
    """The host's preprocessor, which also takes a ``LabelBatch`` as it is: no data sample is made for an image.

    Colour order, normalisation, padding and batch augmentation (mixup, CutMix) are the host's, and so are the numbers.
    Lists of data samples, and a ``LabelBatch`` whose samples were touched, go through the host's code. With the host's
    own preprocessor a ``LabelBatch`` trains to the same numbers, but through one data sample an image.

    Args:
        **kwargs: Those of ``ClsDataPreprocessor``.

    Raises:
        ValueError: If soft labels are asked for without ``num_classes``.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise the images, and mix images and labels where ``train_cfg.augments`` says so.

        Args:
            data (dict): ``inputs``, uint8 ``(N, 3, H, W)``, and ``data_samples``.
            training (bool): Whether to mix. Defaults to False.

        Returns:
            dict: ``inputs``, float, and ``data_samples``.
        """
        samples = data.get('data_samples')
        if not isinstance(samples, LabelBatch) or samples.touched:
            return super().forward(data, training)
        inputs = super().forward(dict(inputs=data['inputs']), training)['inputs']
        samples = samples.to(self.device)
        if self.to_onehot and samples.gt_score is None:
            if not self.num_classes:
                raise ValueError('soft labels (train_cfg.augments, or to_onehot=True) need the number of classes: set '
                                 'data_preprocessor.num_classes.')
            samples = samples.replaced(gt_score=F.one_hot(samples.gt_label, self.num_classes))
        if training and self.batch_augments is not None and samples.gt_score is not None:
            inputs, score = self.batch_augments(inputs, samples.gt_score)
            samples = samples.replaced(gt_score=score)
        return dict(inputs=inputs, data_samples=samples)
