"""A chain of transforms whose errors name the file that caused them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from monai.transforms import Compose


class NamingCompose(Compose):
    """`Compose` whose errors name the file of the case; MONAI's name only the transform.

    Raises:
        RuntimeError: (at the call) a transform failed: the path under `source` or `image`, else `case_id`, and why.
    """

    def __call__(self, input_: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the transformed case."""
        try:
            return super().__call__(input_, *args, **kwargs)
        except Exception as error:
            names = [input_.get(key) for key in ("source", "image", "case_id")] if isinstance(input_, Mapping) else []
            name = next((os.fspath(each) for each in names if isinstance(each, str | os.PathLike)), None)
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            if name is None:
                raise
            text = f"{type(cause).__name__}: {cause}"
            raise RuntimeError(text if name in text else f"{name}: {text}") from error
