"""Networks with batch normalisation, linear terms and unit effects as scikit-learn estimators; extra `sklearn`."""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "bnbench's estimators need scikit-learn (1.6 or later), which is not installed: pip install 'bnbench[sklearn]'"
    ) from error

from bnbench.estimators.models import BatchNormClassifier, BatchNormRegressor

__all__ = ["BatchNormClassifier", "BatchNormRegressor"]
