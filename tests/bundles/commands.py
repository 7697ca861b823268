"""Running a bundle as a user does."""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

from monai.bundle import ConfigParser

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = sorted(path.name for path in (ROOT / "bundles").iterdir())
QUICK = ["--image_size", "32", "--batch_size", "4", "--num_workers", "1"]


def config(name, file):
    """The path of a config file of a bundle; without a suffix it is YAML."""
    return ROOT / "bundles" / name / "configs" / (file if "." in file else f"{file}.yaml")


def parsed(name, *files, **settings):
    """Config files of a bundle, with settings as of the command line."""
    parser = ConfigParser()
    parser.read_config([config(name, file) for file in files])
    parser.update(settings)
    return parser


def command(run_id, configs, *options):
    names = ",".join(f"'{path}'" for path in configs)
    words = ["-m", "monai.bundle", "run", run_id, "--config_file", f"[{names}]"]
    return [*words, *(str(option) for option in options)]


# forks of a process that has imported what a run needs, several seconds of work each time
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["monai.bundle.scripts", "monai.engines", "monai.handlers", "hybrid_attention.deploy"])


def bundle(run_id, configs, *options, cwd=ROOT, check=True):
    """Run `python -m monai.bundle run` in a process of its own."""
    words = command(run_id, configs, *options)
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = FORKS.Process(target=_run_module, args=(words[1:], cwd, dict(os.environ), out, err))
        process.start()
        process.join()
        done = subprocess.CompletedProcess(words, process.exitcode, out.read_text(), err.read_text())
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done


def _run_module(words, cwd, environment, out, err):
    """Do what `python -m` does in a fresh process."""
    for stream, path in ((sys.stdout, out), (sys.stderr, err)):
        with open(path, "wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path.insert(0, str(cwd))
    sys.argv = words
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except Exception as error:
        sys.last_value = error
        sys.excepthook(*sys.exc_info())
        atexit._run_exitfuncs()  # forks end without them
        sys.exit(1)
