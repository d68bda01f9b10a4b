from typing import Any

import pytest

from jamfidp import crypto

KEY_A = "a:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
KEY_B = "b:QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="
ROW = {"model": "directory.thing", "pk": "1", "field": "secret"}


@pytest.fixture(autouse=True)
def one_key(settings: Any) -> None:
    settings.ENCRYPTION_KEYS = [KEY_A]


def test_a_sealed_secret_comes_back_and_is_not_readable_in_between() -> None:
    sealed = crypto.encrypt("correct horse", **ROW)

    assert "correct" not in sealed
    assert crypto.decrypt(sealed, **ROW) == "correct horse"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({**ROW, "pk": "2"}, id="another row"),
        pytest.param({**ROW, "field": "key"}, id="another field"),
        pytest.param({**ROW, "model": "directory.other"}, id="another model"),
    ],
)
def test_a_secret_copied_elsewhere_does_not_decrypt(other: dict[str, str]) -> None:
    sealed = crypto.encrypt("correct horse", **ROW)

    with pytest.raises(crypto.DecryptionFailed):
        crypto.decrypt(sealed, **other)


def test_a_flipped_bit_does_not_decrypt() -> None:
    sealed = crypto.encrypt("correct horse", **ROW)
    flipped = sealed[:-6] + ("A" if sealed[-6] != "A" else "B") + sealed[-5:]

    with pytest.raises(crypto.DecryptionFailed):
        crypto.decrypt(flipped, **ROW)


def test_an_older_key_still_decrypts_and_the_newest_one_encrypts(settings: Any) -> None:
    old = crypto.encrypt("correct horse", **ROW)

    settings.ENCRYPTION_KEYS = [KEY_B, KEY_A]
    new = crypto.encrypt("correct horse", **ROW)

    assert crypto.decrypt(old, **ROW) == "correct horse"
    assert not crypto.is_sealed_with_newest_key(old)
    assert crypto.is_sealed_with_newest_key(new)


def test_a_lost_key_is_named_and_is_not_mistaken_for_tampering(settings: Any) -> None:
    sealed = crypto.encrypt("correct horse", **ROW)
    settings.ENCRYPTION_KEYS = [KEY_B]

    with pytest.raises(crypto.KeyUnavailable, match="'a'"):
        crypto.decrypt(sealed, **ROW)


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([], id="none"),
        pytest.param(["a"], id="no key after the id"),
        pytest.param(["a:not base64"], id="not base64"),
        pytest.param(["a:QUFB"], id="too short"),
    ],
)
def test_without_a_usable_key_nothing_is_encrypted(
    settings: Any, keys: list[str]
) -> None:
    settings.ENCRYPTION_KEYS = keys

    assert not crypto.keys_available()
    with pytest.raises(crypto.KeyUnavailable):
        crypto.encrypt("correct horse", **ROW)


def test_a_fingerprint_tells_secrets_apart_without_telling_them() -> None:
    assert crypto.fingerprint("one") != crypto.fingerprint("two")
    assert len(crypto.fingerprint("one")) == 12
