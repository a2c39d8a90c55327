"""The manners of a scikit-learn estimator, without importing scikit-learn."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

Self = TypeVar("Self", bound="Estimator")


class Estimator:
    """Parameters by name, taken from the constructor; enough for `sklearn.base.clone`, pipelines and grid searches."""

    @classmethod
    def _parameter_names(cls) -> dict[str, Any]:
        """Names of the constructor's arguments and their defaults."""
        signature = inspect.signature(cls.__init__)
        return {name: p.default for name, p in signature.parameters.items() if name != "self"}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Constructor arguments by name (``deep`` changes nothing)."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self: Self, **params: Any) -> Self:
        """Change constructor arguments by name.

        Raises
        ------
        ValueError
            For an unknown name.
        """
        known = self._parameter_names()
        for name in params:
            if name not in known:
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(known)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = []
        for name, default in self._parameter_names().items():
            value = getattr(self, name)
            if not (value is default or (isinstance(value, int | float | str) and value == default)):
                changed.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        """Asked for by scikit-learn only, which is then there."""
        from sklearn.utils import Tags, TargetTags

        return Tags(estimator_type="density_estimator", target_tags=TargetTags(required=False))
