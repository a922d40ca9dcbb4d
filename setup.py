"""Every package is found, never listed: the three top folders are one namespace when they are installed."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[
        *find_namespace_packages(include=["harness*"]),
        *(f"harness.{name}" for name in find_namespace_packages(include=["targets*", "models*"])),
        "harness.published",
    ]
)
