"""Checks of user input and ids."""

import pytest

from nexus.core.errors import NexusError
from nexus.resilience import ValidationError, validate_session_id, validate_user_id, validate_user_input


def test_control_characters_are_removed_but_newline_and_tab():
    assert validate_user_input("a\x00b\n\tc\r\x1b[0m\x7f\x85d") == "ab\n\tc[0md"


def test_other_scripts_and_joined_emoji_stay():
    text = "Grüße, 世界 👩‍💻"
    assert validate_user_input(text) == text


def test_halves_of_surrogate_pairs_are_removed():
    assert validate_user_input("a\ud83db") == "ab"


@pytest.mark.parametrize("text", ["", "  \n\t ", "\x00\x01"])
def test_empty_input_is_refused(text):
    with pytest.raises(ValidationError, match=r"^user_input must not be empty$") as caught:
        validate_user_input(text)
    assert (caught.value.field, caught.value.reason) == ("user_input", "must not be empty")
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, NexusError)


def test_long_input_is_refused_and_what_is_removed_does_not_count():
    assert validate_user_input("x" * 1000 + "\x00") == "x" * 1000
    with pytest.raises(ValidationError, match=r"^user_input must have at most 1000 characters, has 1001$"):
        validate_user_input("x" * 1001)
    with pytest.raises(ValidationError, match=r"^question must have at most 3 characters"):
        validate_user_input("four", max_length=3, field="question")


@pytest.mark.parametrize("text", [None, 5, b"x"])
def test_only_strings_are_input(text):
    with pytest.raises(ValidationError, match=f"^user_input must be a string, is {type(text).__name__}$"):
        validate_user_input(text)


@pytest.mark.parametrize(
    ("validate", "field"), [(validate_user_id, "user_id"), (validate_session_id, "session_id")]
)
class TestIds:
    @pytest.mark.parametrize("value", ["a", "user.42:eu_west-1", "x" * 128])
    def test_good_ids_come_back_as_they_are(self, validate, field, value):
        assert validate(value) == value, field

    @pytest.mark.parametrize("value", ["x" * 129, "a b", "a\n", "ü", "a/b", "../x", "a;--", "\x00"])
    def test_bad_ids_are_refused_without_repeating_them(self, validate, field, value):
        with pytest.raises(ValidationError, match=f"^{field} must be 1 to 128 characters") as caught:
            validate(value)
        assert value not in str(caught.value) or value == "a b"
        assert caught.value.field == field

    def test_empty_and_missing_ids_are_refused(self, validate, field):
        with pytest.raises(ValidationError, match=f"^{field} must not be empty$"):
            validate("")
        with pytest.raises(ValidationError, match=f"^{field} must be a string, is NoneType$"):
            validate(None)
