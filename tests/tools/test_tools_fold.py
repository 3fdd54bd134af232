"""The fold tool: what it writes loads in the stock host, in a process without this package."""
import json
import subprocess
import sys
import textwrap

import torch
from folding import build, classifier_config, image
from mmengine.config import Config
from tool_process import run_tool

from nbn_mm.engine.fold_checkpoint import fold_checkpoint

STOCK = '''
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'nbn_mm':
            raise ImportError('this process must not use nbn_mm')
sys.meta_path.insert(0, Refuse())
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
config, checkpoint, sample = sys.argv[1:]
cfg = Config.fromfile(config)
init_default_scope(cfg.default_scope)
from mmengine.registry import MODELS
model = MODELS.build(cfg.model).eval()
model.load_state_dict(torch.load(checkpoint, weights_only=True)['state_dict'], strict=True)
sample = torch.load(sample)
with torch.no_grad():
    feats, scores = model.extract_feat(sample['x'])[-1], model(sample['x'])
assert torch.equal(feats, sample['feats']), 'features differ'
print((scores - sample['scores']).norm().item() / sample['scores'].norm().item())
'''


def fold_tool(*args):
    return run_tool('model_converters/fold_nbn.py', *args, cwd=args[-1].parent)


def write_run(folder, cfg, model):
    config = folder / 'trained.py'
    config.write_text(f"default_scope = 'mmpretrain'\ncustom_imports = dict(imports=['nbn_mm'])\nmodel = {cfg!r}\n")
    torch.save(dict(state_dict=model.state_dict(), meta=dict(class_counts=dict(images=[1, 2]))), folder / 'trained.pth')
    return config, folder / 'trained.pth'


def test_tool_and_the_stock_host(tmp_path):
    """The folded host ResNet with a linear head loads strictly in mmpretrain, in a process without this package."""
    cfg = classifier_config(dict(placement='paper'))
    model = build(cfg)
    config, checkpoint = write_run(tmp_path, cfg, model)
    (tmp_path / 'out').mkdir()
    code, output = fold_tool(config, checkpoint, tmp_path / 'out' / 'folded.pth')
    assert code == 0, output
    assert '3 norm layers became BN' in output
    assert 'needs no part of nbn_mm' in output
    assert torch.load(tmp_path / 'out/folded.pth', weights_only=True)['meta']['class_counts'] == dict(images=[1, 2])
    x = image()
    with torch.no_grad():
        torch.save(dict(x=x, feats=model.extract_feat(x)[-1], scores=model(x)), tmp_path / 'sample.pth')
    stock = subprocess.run([sys.executable, '-c', textwrap.dedent(STOCK), str(tmp_path / 'out/folded.py'),
                            str(tmp_path / 'out/folded.pth'), str(tmp_path / 'sample.pth')],
                           capture_output=True, text=True, cwd=tmp_path)
    assert stock.returncode == 0, stock.stderr
    assert json.loads(stock.stdout.strip().splitlines()[-1]) < 1e-5


def test_tool_says_what_cannot_be(tmp_path):
    cfg = classifier_config(dict())
    cfg['backbone'] = dict(type='NBNBackbone', base='CIFARResNet', depth=8)
    cfg['head']['in_channels'] = 64
    config, checkpoint = write_run(tmp_path, cfg, build(cfg))
    code, output = fold_tool(config, checkpoint, tmp_path / 'folded.pth')
    assert code == 0, output
    assert 'still needs nbn_mm' in output and 'CIFARResNet' in output
    assert 'nbn_mm' in (tmp_path / 'folded.py').read_text()


def test_what_is_written_names_the_package_only_where_it_is_needed(tmp_path):
    """A loss that the host's head builds at test, too; and a preprocessor beside the model that has a stock form."""
    cfg = classifier_config(dict())
    config, checkpoint = write_run(tmp_path, cfg, build(cfg))
    preprocessor = "data_preprocessor = dict(type='BatchClsDataPreprocessor', mean=[1.0] * 3, std=[2.0] * 3)\n"
    config.write_text(config.read_text() + preprocessor)
    assert not fold_checkpoint(str(config), str(checkpoint), str(tmp_path / 'folded.pth')).remaining
    written = (tmp_path / 'folded.py').read_text()
    assert "type='ClsDataPreprocessor'" in written and 'nbn_mm' not in written
    cfg['head'] = dict(type='LinearClsHead', num_classes=7, in_channels=512, loss=cfg['head']['loss'])
    config, checkpoint = write_run(tmp_path, cfg, build(cfg))
    assert list(fold_checkpoint(str(config), str(checkpoint), str(tmp_path / 'other.pth')).remaining) == [
        'head.loss_module']
    other = Config.fromfile(tmp_path / 'other.py')
    assert other.custom_imports.imports == ['nbn_mm'] and other.model.head.loss.type == 'BalancedSoftmaxLoss'


def test_tool_refuses_a_checkpoint_of_another_model(tmp_path):
    cfg = classifier_config(dict())
    config, checkpoint = write_run(tmp_path, cfg, build(classifier_config(dict(share='block'))))
    code, output = fold_tool(config, checkpoint, tmp_path / 'folded.pth')
    assert code != 0 and 'magnitude' in output and 'nbn.share' in output
    wider = dict(cfg, head=dict(cfg['head'], num_classes=9, loss=dict(type='CrossEntropyLoss')))
    (tmp_path / 'wider').mkdir()
    code, output = fold_tool(config, write_run(tmp_path / 'wider', wider, build(wider))[1], tmp_path / 'folded.pth')
    assert code != 0 and 'is not one of the model' in output and 'head.fc.weight' in output
    assert not (tmp_path / 'folded.pth').exists()
    code, output = fold_tool(config, checkpoint, checkpoint)
    assert code != 0 and 'is the checkpoint itself' in output


def test_other_imports_of_the_config_stay(tmp_path):
    cfg = classifier_config(dict())
    config, checkpoint = write_run(tmp_path, cfg, build(cfg))
    config.write_text(config.read_text().replace("imports=['nbn_mm']", "imports=['nbn_mm', 'colorsys']"))
    fold_checkpoint(str(config), str(checkpoint), str(tmp_path / 'folded.pth'))
    assert Config.fromfile(tmp_path / 'folded.py').custom_imports.imports == ['colorsys']
