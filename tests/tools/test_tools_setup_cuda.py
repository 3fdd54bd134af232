"""Set-up: whether the ops are compiled for CUDA, and with what. A GPU and nvcc are small programs on PATH."""
import pytest
from cuda_ops import Torch, choose_device, compile_environment, find_gpu, find_nvcc, require_nvcc
from running import SetupError
from setup_machine import SMI, TORCH, nvcc, program


def test_cpu_without_nvidia_smi(machine):
    nvcc(machine, '13.0')
    assert find_gpu() is None and choose_device(TORCH) == 'cpu'


def test_cpu_with_failing_nvidia_smi(machine):
    program(machine, 'nvidia-smi', 'echo "NVIDIA-SMI has failed"; exit 9')
    assert find_gpu() is None and choose_device(TORCH) == 'cpu'


def test_cuda_with_gpu(machine):
    program(machine, 'nvidia-smi', SMI.format('13.0'))
    assert find_gpu() == dict(gpus=['Probe H1'], cuda='13.0')
    assert choose_device(TORCH) == 'cuda'
    assert choose_device(TORCH, dict(NBN_MM_OPS='cpu')) == 'cpu'


@pytest.mark.parametrize('environ', [dict(NBN_MM_OPS='cuda'), dict(FORCE_CUDA='1')])
def test_cuda_on_request_without_gpu(machine, environ):
    assert choose_device(Torch('2.11.0', '13.0', False), environ) == 'cuda'
    assert choose_device(TORCH, dict(environ, NBN_MM_OPS='cpu')) == 'cpu'


def test_torch_for_the_cpu_on_a_gpu_machine(machine):
    program(machine, 'nvidia-smi', SMI.format('13.0'))
    with pytest.raises(SetupError, match=r'(?s)torch 2\.11\.0\+cpu is a build for the CPU.*NBN_MM_OPS=cpu'):
        choose_device(Torch('2.11.0+cpu', None, False))


def test_old_driver(machine):
    program(machine, 'nvidia-smi', SMI.format('12.4'))
    with pytest.raises(SetupError, match=r'(?s)Probe H1.*CUDA 13\.0.*up to CUDA 12\.4.*NBN_MM_OPS=cpu'):
        choose_device(Torch('2.11.0', '13.0', False))


def test_unknown_ops():
    with pytest.raises(SetupError, match='NBN_MM_OPS=gpu is unknown'):
        choose_device(TORCH, dict(NBN_MM_OPS='gpu'))


def test_no_nvcc(machine):
    with pytest.raises(
        SetupError, match=r'(?s)none was found.*torch 2\.11\.0\+cu130 is built with CUDA 13\.0.*NBN_MM_OPS=cpu'
    ):
        require_nvcc(TORCH)


def test_nvcc_of_another_major(machine):
    nvcc(machine, '12.8')
    with pytest.raises(SetupError, match=r'(?s)nvcc is of CUDA 12\.8.*torch .* CUDA 13\.0.*majors.*NBN_MM_OPS=cpu'):
        require_nvcc(TORCH)


def test_nvcc_of_another_minor_serves(machine):
    path = nvcc(machine, '13.2')
    assert require_nvcc(TORCH) == str(path)


def test_cuda_home_comes_first(machine, tmp_path, monkeypatch):
    nvcc(machine, '12.8')
    path = nvcc(tmp_path / 'toolkit' / 'bin', '13.0')
    monkeypatch.setenv('CUDA_HOME', str(tmp_path / 'toolkit'))
    assert find_nvcc() == (str(path), '13.0') and require_nvcc(TORCH) == str(path)
    monkeypatch.setenv('CUDA_HOME', str(tmp_path / 'gone'))
    assert find_nvcc()[1] == '12.8'


def test_compile_environment(machine, tmp_path):
    assert compile_environment('cpu') == dict(MMCV_WITH_OPS='1', FORCE_CUDA='0', CUDA_VISIBLE_DEVICES='')
    toolkit = tmp_path / 'toolkit'
    (toolkit / 'include').mkdir(parents=True)
    (toolkit / 'include' / 'cuda_runtime.h').touch()
    direct = nvcc(toolkit / 'bin', '13.0')
    wrapper = program(machine, 'nvcc', f'echo "#$ TOP={toolkit}" >&2')
    for path in (direct, wrapper):
        assert compile_environment('cuda', str(path)) == dict(MMCV_WITH_OPS='1', FORCE_CUDA='1', CUDA_HOME=str(toolkit))
    silent = program(machine, 'nvcc', 'exit 0')
    assert 'CUDA_HOME' not in compile_environment('cuda', str(silent))
