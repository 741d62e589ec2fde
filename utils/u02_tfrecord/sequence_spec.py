"""What the records of a sequence data set have in common, and how one record becomes a `tf.train.SequenceExample`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .features import Feature, as_array, check_names
from .format import DataSetError

Pair = tuple[Mapping[str, object], Mapping[str, object]]  # context, sequences


@dataclass
class SequenceSpec:
    """The features of the context, and of one step of each sequence, by name.

    A sequence that was an empty list in every record so far has the feature None: its type is not known yet.
    """

    context: dict[str, Feature]
    sequences: dict[str, Feature | None]

    @classmethod
    def of(cls, pair: Pair) -> SequenceSpec:
        """The types of one record.

        Raises:
            DataSetError: it is not a pair of dictionaries, or its names or values cannot be used.
        """
        context, sequences = check_pair(pair)
        check_names([*context, *sequences])
        if not sequences:
            raise DataSetError("a record needs at least one sequence (a list or an array)")
        names = [*context, *sequences, *(f"{name}_length" for name in sequences)]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise DataSetError(
                f"the name {twice[0]!r} is used twice (X_length is the length of the sequence X)"
            )
        return cls(
            {name: describe(name, value, steps=False) for name, value in context.items()},
            {name: describe(name, value, steps=True) for name, value in sequences.items()},
        )

    @property
    def complete(self) -> bool:
        """Whether every type is known."""
        return None not in self.sequences.values()

    def merge(self, other: SequenceSpec) -> None:
        """Take in another record: the same types, but whole numbers here and floats there make float32."""
        for mine, theirs in ((self.context, other.context), (self.sequences, other.sequences)):
            check_same_names(mine, theirs)
            for name, new in theirs.items():
                old = mine[name]
                if old is None or new is None or old == new:
                    mine[name] = old or new
                elif old.shape == new.shape and {old.dtype, new.dtype} == {"int64", "float32"}:
                    mine[name] = Feature("float32", old.shape)
                else:
                    raise DataSetError(f"{name!r} is {new}, in the records before it is {old}")

    def encode(self, pair: Pair) -> bytes:
        """A record as the bytes of a `SequenceExample`.

        Raises:
            DataSetError: the record does not have these names, types and shapes.
        """
        import tensorflow as tf

        context, sequences = check_pair(pair)
        check_same_names(self.context, context)
        check_same_names(self.sequences, sequences)
        features, lists = {}, {}
        for name, feature in self.context.items():
            value = fit(name, context[name], feature, steps=False)
            (features[name],) = feature.encode(value[np.newaxis])
        for name, feature in self.sequences.items():
            steps = fit(name, sequences[name], feature, steps=True)
            lists[name] = tf.train.FeatureList(feature=feature.encode(steps))
        return tf.train.SequenceExample(
            context=tf.train.Features(feature=features),
            feature_lists=tf.train.FeatureLists(feature_list=lists),
        ).SerializeToString(deterministic=True)


def check_pair(pair: object) -> Pair:
    """`pair` itself when it is `(context, sequences)`, two dictionaries; else `DataSetError`."""
    if isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(part, Mapping) for part in pair):
        return pair
    raise DataSetError(
        'a record is a pair (context, sequences) of dictionaries: ({"label": 3}, {"letters": [7]})'
    )


def check_same_names(expected: Mapping, found: Mapping) -> None:
    """Raise `DataSetError` unless both have the same names."""
    if expected.keys() != found.keys():
        listed = [", ".join(sorted(names)) or "nothing" for names in (found, expected)]
        raise DataSetError(f"it has {listed[0]}, the records before have {listed[1]}")


def describe(name: str, value: object, steps: bool) -> Feature | None:
    """Type and shape of a context value, or of one step of a sequence; None for an empty list."""
    try:
        array = as_array(value)
    except DataSetError as error:
        raise DataSetError(f"{name!r}: {error}") from None
    if not steps:
        return Feature.of(array)
    if array.ndim == 0:
        raise DataSetError(
            f"{name!r} is a single value; a sequence is a list or an array with one entry a step"
        )
    if len(array) == 0 and not isinstance(value, np.ndarray):
        return None
    return Feature(Feature.of(array).dtype, array.shape[1:])


def fit(name: str, value: object, feature: Feature, steps: bool) -> np.ndarray:
    """`value` as an array of the type and shape that the data set has; `DataSetError` when it is of another."""
    actual = describe(name, value, steps)
    if actual is None:
        return np.zeros((0, *feature.shape))
    array = as_array(value)
    from_python = not isinstance(value, (np.ndarray, np.generic))
    if from_python and actual.dtype == "int64" and feature.dtype == "float32":
        array, actual = array.astype(np.float32), Feature("float32", actual.shape)
    if actual != feature:
        raise DataSetError(
            f"{name!r} is {actual}{' a step' if steps else ''}, the records before have {feature}"
        )
    return array
