"""Every test here is watched for secrets that come to stand where they must not."""

from tests.canaries import everything_is_watched, no_secret_is_left_anywhere

__all__ = ["everything_is_watched", "no_secret_is_left_anywhere"]
