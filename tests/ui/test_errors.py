"""How deliberate errors look."""

from streamlit.testing.v1 import AppTest

from brainviz.ui.errors import plain


def test_plain_text_stays_plain() -> None:
    assert plain("a_b*c [x](y) `z` &lt;") == r"a\_b\*c \[x\]\(y\) \`z\` \&lt;"


def test_an_error_is_shown_and_ends_the_block() -> None:
    def page() -> None:
        import streamlit as st

        from brainviz.errors import SpecError
        from brainviz.ui.errors import errors_shown

        with errors_shown():
            st.write("before")
            if True:
                raise SpecError("It is wrong.", got="x_y", mend="change it.")
            st.write("after")

    at = AppTest.from_function(page).run()
    assert not at.exception
    assert at.error[0].value == "It is wrong.  \nGot\\: x\\_y  \nTo mend it\\: change it."
    assert [text.value for text in at.markdown] == ["before"]


def test_a_page_may_end_early() -> None:
    def page() -> None:
        import streamlit as st

        from brainviz.ui.errors import end_page, errors_shown

        with errors_shown():
            st.write("before")
            end_page()

    at = AppTest.from_function(page).run()
    assert not at.exception
    assert not at.error
    assert [text.value for text in at.markdown] == ["before"]


def test_other_errors_are_not_hidden() -> None:
    def page() -> None:
        from brainviz.ui.errors import errors_shown

        with errors_shown():
            raise ValueError("a bug")

    assert AppTest.from_function(page).run().exception[0].message == "a bug"
