"""What pyproject.toml can't say: the folder `bundles` is installed as `hybrid_attention/bundles`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["hybrid_attention*"]), "hybrid_attention.bundles"],
    package_dir={"hybrid_attention.bundles": "bundles"},
)
