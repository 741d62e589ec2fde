"""What a result file says about where its figures come from."""

from __future__ import annotations

import datetime
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE)
        if found:
            return found.group(1).strip()
    return platform.processor() or platform.machine()


def gpu_names() -> list[str]:
    """Names of the GPUs that the NVIDIA driver lists, without starting TensorFlow."""
    return [
        re.search(r"^Model:\s*(.+)$", information.read_text(), re.MULTILINE).group(1)
        for information in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    ]


def installed(*packages: str) -> str | None:
    """The version of the first of `packages` that is installed."""
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def facts() -> dict[str, object]:
    """Machine, versions and date, for a result file."""
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "gpu": gpu_names(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "tensorflow": installed("tensorflow", "tensorflow-cpu"),
        "keras": installed("keras"),
        "numpy": installed("numpy"),
    }


def sentence(fact: dict) -> str:
    """One line for below a table."""
    gpu = f", {', '.join(fact['gpu'])}" if fact.get("gpu") else ", no GPU"
    cores = f"{fact['cores']} core{'s' * (fact['cores'] != 1)}"
    return (
        f"{fact['cpu']}, {cores}, {fact['memory_gib']} GiB{gpu}; TensorFlow {fact['tensorflow']}, "
        f"Keras {fact['keras']}, Python {fact['python']}; {fact['date']}"
    )
