import subprocess
import sys

from hybrid_attention.engines.bundles import root_cause


def test_the_cause_is_printed_last():
    code = (
        "from hybrid_attention.engines.bundles import explain_errors\n"
        "explain_errors()\n"
        "try:\n"
        "    try:\n        1 / 0\n"
        "    except ZeroDivisionError as error:\n        raise ValueError('mask missing: add a.png') from error\n"
        "except ValueError as error:\n    raise RuntimeError('Failed to instantiate component') from error\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.rstrip().splitlines()[-1] == "The cause: ValueError: mask missing: add a.png"


def test_the_root_of_a_chain():
    cause, wrapped, outer = ValueError("mask missing"), RuntimeError("Failed to build"), RuntimeError("Failed to run")
    wrapped.__cause__, outer.__cause__ = cause, wrapped
    assert [root_cause(error) for error in (outer, wrapped, cause)] == [cause] * 3
    cause.__cause__ = KeyError("a")
    assert root_cause(outer) is cause


def test_the_root_of_a_circle():
    code = (
        "from hybrid_attention.engines.bundles import root_cause\n"
        "def again(error):\n"
        "    try:\n        raise root_cause(error) from error\n"
        "    except RuntimeError as caught:\n        return caught\n"
        "cause, wrapped, outer = (RuntimeError(f'Failed to {what}') for what in ('read a.png', 'build', 'run'))\n"
        "wrapped.__cause__ = cause\n"
        "assert again(wrapped) is cause and cause.__cause__ is wrapped\n"
        "assert again(cause) is cause\n"
        "outer.__cause__ = cause\n"
        "assert root_cause(outer) is cause\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
