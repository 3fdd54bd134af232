import numpy as np
from tool_process import run_tool

from nbn_mm.evaluation.functional.lvis_table import lvis_class_table, write_lvis_class_csv


def test_plot_class_ap(tmp_path):
    for name, ap in (('ce', [0.1, 0.2, np.nan]), ('nbn', [0.3, 0.2, np.nan])):
        rows = lvis_class_table(['cat', 'dog', 'eel'], list('rcf'), [3, 40, 400], [3, 50, 900], [1, 2, 0], [1, 2, 0],
                                dict(segm=np.array(ap)))
        write_lvis_class_csv(rows, tmp_path / f'{name}.csv')
    tool = 'analysis_tools/plot_class_ap.py'
    code, output = run_tool(tool, 'CE=ce.csv', 'NBN=nbn.csv', '--out', 'a/b.png', cwd=tmp_path)
    assert code == 0 and (tmp_path / 'a' / 'b.png').read_bytes().startswith(b'\x89PNG'), output
    for args, message in ((['CE=ce.csv', '--out', 'a.gif'], "'a.gif' must end in .png"),
                          (['CE=ce.csv', '--out', 'a.png', '--metric', 'bbox'], 'no column bbox_AP'),
                          (['X=gone.csv', '--out', 'a.png'], "no file or folder 'gone.csv'")):
        code, output = run_tool(tool, *args, cwd=tmp_path)
        assert code == 1 and message in output and 'Traceback' not in output, output
