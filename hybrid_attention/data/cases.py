"""Cases, the dicts that a data set consists of: checks of their files and classes, and lists made on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, wraps
from typing import Any, TypeVar, cast

from hybrid_attention.data.images import image_shape
from hybrid_attention.data.masks import fitted_mask, merged_mask, read_mask

Maker = TypeVar("Maker", bound=Callable[..., Any])


class DataError(ValueError):
    """Some files of a data set can't be used; the message lists them and says what to do."""


_HINT = (
    "replace damaged files (download them again), give every image a mask of its size (all black if there is no "
    "lesion), or remove the cases from the folder"
)


def raise_if_invalid(problems: Sequence[str], total: int, hint: str = _HINT) -> None:
    """Raise a `DataError` that lists `problems`, if there are any, and says what to do about them."""
    if problems:
        listed = [f"  - {line}" for line in problems]
        raise DataError("\n".join([f"{len(problems)} problem(s) in {total} case(s):", *listed, f"Hint: {hint}"]))


def inspect_cases(cases: Sequence[dict[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Read the header of every image and all masks; pixels of images are decoded once, when they are used.

    Returns:
        Problems, one line each: unreadable files, invalid masks, masks that don't fit their image or class. And copies
        of the cases, with the fraction of lesion pixels as `lesion_area_fraction` in those that have masks.
    """
    with ThreadPoolExecutor(max_workers=4) as pool:
        results = list(pool.map(_inspect_case, cases))
    return [problem for problems, _ in results for problem in problems], [case for _, case in results]


def _inspect_case(case: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    problems = []
    try:
        shape = image_shape(case["image"])
    except ValueError as error:
        return [f"{case['image']}: {error}"], case
    masks = []
    for path in case.get("label", []):
        try:
            masks.append(fitted_mask(read_mask(path), case["image"], shape, path))
        except ValueError as error:
            problems.append(f"{path}: {error}")
    if problems or not masks:
        return problems, case
    area, kind = float(merged_mask(masks).mean()), case.get("class")
    if kind and (area > 0) == (kind == "normal"):
        content = "contains a lesion" if area > 0 else "is empty"
        problems.append(f"{case['label'][0]}: the mask {content}, but the case is of class {kind}")
    return problems, {**case, "lesion_area_fraction": area}


class OnDemand(Sequence[Any]):
    """The result of a function, called on first use, so that a training on a MONAI Label server reads no other data."""

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        self._make, self._arguments = make, arguments

    @cached_property
    def made(self) -> Any:
        """The result itself."""
        return self._make(*self._arguments)

    def __getitem__(self, index: Any) -> Any:
        return self.made[index]

    def __len__(self) -> int:
        return len(self.made)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.made, name)


def on_demand(function: Maker) -> Maker:
    """Make a function return `OnDemand` when its first argument is one."""

    @wraps(function)
    def call(first: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(first, OnDemand):
            return OnDemand(lambda: function(first.made, *arguments, **options))
        return function(first, *arguments, **options)

    return cast(Maker, call)


def check_training_cases(
    training: Sequence[Mapping[str, Any]],
    validation: Sequence[Mapping[str, Any]],
    class_names: Sequence[str] | None = None,
) -> None:
    """Raise a ValueError for too few cases, or cases without a class although there are `class_names` to predict.

    MONAI would report an empty training as done; a MONAI Label server has no classes, and splits its data by itself.
    """
    if len(training) < 2 or not validation:
        raise ValueError(
            f"{len(training)} images to train on and {len(validation)} to validate on are too few: at least two and "
            "one are needed (on a MONAI Label server three labelled images, with its val_split of 0.2)"
        )
    unknown = [case for case in (*training, *validation) if "class_index" not in case]
    if class_names is not None and unknown:
        raise ValueError(
            f"{len(unknown)} images have no class (the first: {unknown[0].get('image')}), but the network predicts "
            f"{', '.join(class_names)}. A MONAI Label server passes masks only: to train on them, set class_names to "
            "null in train.yaml and inference.yaml of the bundle, which then predicts masks without classes"
        )


@on_demand
def with_class_index(cases: Sequence[dict[str, Any]], class_names: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return copies of the cases with the index of their `class` in `class_names`, as `class_index`.

    The names are in the order of the network's class logits; None, for a network that doesn't classify, leaves the
    cases unchanged. All cases of another class or none are listed in a DataError.
    """
    if class_names is None:
        return list(cases)
    names = list(class_names)
    if len(names) < 2 or len(set(names)) != len(names):
        raise ValueError(f"class_names must be two or more different names, or None, got {class_names!r}")
    problems = [
        f"{case['case_id']}: class {case.get('class', '')!r} is not one of {', '.join(names)}"
        for case in cases
        if case.get("class") not in names
    ]
    hint = (
        "give each image a class of class_names (by its folder in BUSI's layout, by DatasetB.xlsx in UDIAT's), or set "
        "class_names to None for segmentation only"
    )
    raise_if_invalid(problems, len(cases), hint)
    return [{**case, "class_index": names.index(case["class"])} for case in cases]
