import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from cmt_cli.running.allocation import keep_freed_memory

if {keep}:
    assert keep_freed_memory()
blocks = lambda: [bytearray(8 * 2**20) for _ in range(4)]
blocks()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    blocks()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keep: bool) -> int:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", FAULTS.format(keep=keep)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_used_again_instead_of_mapped_anew() -> None:
    assert page_faults(keep=True) < page_faults(keep=False) / 10
