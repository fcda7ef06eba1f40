"""What logs show of a request's target, and what they never do."""

from __future__ import annotations

import pytest

from gateway.observability.target import redact_path, redact_query


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/job/a%2Fb/",
        b"/job/x;y=1/z",
        b"/a//b/./../c",
        b"/job/%zz/%",
        b"/static/1a2b/scripts/x.js",
        b"/job/static-files-x/",
        b"/static-files",
        b"*",
    ],
)
def test_what_is_harmless_is_shown_as_it_was_sent(path: bytes) -> None:
    assert redact_path(path) == path.decode()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"/static-files/SECRET/index.html", "/static-files/***/index.html"),
        (b"/static-files/SECRET", "/static-files/***"),
        (b"/jenkins/static-files/SECRET/a/b", "/jenkins/static-files/***/a/b"),
        (b"/static%2Dfiles/SECRET/x", "/static%2Dfiles/***/x"),
        (b"/static%252Dfiles/SECRET/x", "/static%252Dfiles/***/x"),
        (b"/STATIC-files/SECRET/x", "/STATIC-files/***/x"),
        (b"/static-files%2FSECRET%2Fx", "/static-files%2F***%2Fx"),
        (b"/x%5Cstatic-files%5cSECRET", "/x%5Cstatic-files%5c***"),
        (b"/static-files\\SECRET/x", "/static-files\\***/x"),
        (b"/static-files;v=1/SECRET/x", "/static-files;v=1/***/x"),
        (b"/static-files//SECRET/x", "/static-files/***"),
        (b"/static-files/./SECRET/x", "/static-files/***"),
        (b"/static-files/x/%2e%2e/SECRET", "/static-files/***"),
        (b"/a;jsessionid=SECRET", "/a;jsessionid=***"),
        (b"/a;JSESSIONID=SECRET/b;x=1", "/a;JSESSIONID=***/b;x=1"),
        (b"/a;jsess%69onid=SECRET", "/a;jsess%69onid=***"),
        (b"/a%3Bjsessionid=SECRET", "/a%3Bjsessionid=***"),
        (b"/a;jsessionid%3DSECRET", "/a;jsessionid%3D***"),
        (b"/a;x=1;jsessionid=SECRET;y=2/b", "/a;x=1;jsessionid=***;y=2/b"),
        (b"/static-files/SECRET;jsessionid=SECRET/x;token=SECRET", "/static-files/***/x;token=***"),
    ],
)
def test_secrets_in_paths_are_masked(path: bytes, shown: str) -> None:
    assert redact_path(path) == shown


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (b"", ""),
        (b"a=1&b=2", "a=1&b=2"),
        (b"token=x", "token=***"),
        (b"TOKEN=x", "TOKEN=***"),
        (b"%74oken=x&y=1", "%74oken=***&y=1"),
        (b"a=1;secret=x", "a=1;secret=***"),
        (b"access_token=x=y&b", "access_token=***&b"),
        (b"j_password=x", "j_password=***"),
        (b"apiKey=x&api-key=y&api_key=z", "apiKey=***&api-key=***&api_key=***"),
        (b"code=x&state=y&session_state=z", "code=***&state=***&session_state=***"),
        (b"Jenkins-Crumb=x&.crumb=y", "Jenkins-Crumb=***&.crumb=***"),
        (b"SAMLResponse=x", "SAMLResponse=***"),
        (b"ticket=ST-1", "ticket=***"),
        (b"barcode=1&stated=2&monkey=3", "barcode=1&stated=2&monkey=3"),
        (b"token", "token"),
        (b"from=%2Fjob%2Fx%2F&a", "from=%2Fjob%2Fx%2F&a"),
        (b"from=%2Fjob%2Fx%2Fbuild%3Ftoken%3DSECRET&a", "from=***&a"),
        (b"from=%2Fx%3Fa%3D1%26token%3DSECRET", "from=***"),
        (b"from=%2Fstatic-files%2FSECRET%2F", "from=***"),
    ],
)
def test_secrets_in_queries_are_masked(query: bytes, shown: str) -> None:
    assert redact_query(query) == shown


def test_no_more_is_looked_at_than_a_request_line_may_have() -> None:
    assert len(redact_path(b"/" + b";a=%" * 100_000)) <= 8 * 1024
    assert len(redact_query(b"a=%&" * 100_000)) <= 8 * 1024
