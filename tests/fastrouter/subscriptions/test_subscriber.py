"""What subscribe-to and subscribe2 say: every form of the documents, and what wrong ones are told."""

import pytest

from fastrouter.subscriptions.subscriber import SubscriberError, Subscription, parse_subscriptions
from fastrouter.wire.announcement import Announcement
from fastrouter.wire.keyval import parse_keyval
from fastrouter.wire.traits import Traits


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.168.0.100:7000:example.com", Subscription("192.168.0.100:7000", "example.com")),
        ("192.168.0.100:7000:unbit.it,5", Subscription("192.168.0.100:7000", "unbit.it", traits=Traits(5))),
        ("192.168.0.100:7000:@mappings.txt", Subscription("192.168.0.100:7000", mapping="mappings.txt")),
        ("10.0.0.1:7000:foo.com:8000", Subscription("10.0.0.1:7000", "foo.com:8000")),
        ("/run/subs.sock:foo.com", Subscription("/run/subs.sock", "foo.com")),
        ("[::1]:7000:foo.com", Subscription("[::1]:7000", "foo.com")),
        ("10.1.1.1:80=10.0.0.1:7000:a", Subscription("10.0.0.1:7000", "a", address="10.1.1.1:80")),
        ("=1=10.0.0.1:7000:a", Subscription("10.0.0.1:7000", "a", socket=1, shared=True)),
    ],
)
def test_subscribe_to(text, expected):
    assert parse_subscriptions([text], []) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server=127.0.0.1:2626,key=foo.com", Subscription("127.0.0.1:2626", "foo.com")),
        ("key=@m.txt,server=/run/s", Subscription("/run/s", mapping="m.txt")),
        (
            "server=1.1.1.1:1,key=a,addr=10.1.2.3:4000,weight=3,modifier1=5,modifier2=7,backup=2,algo=lrc",
            Subscription(
                "1.1.1.1:1",
                "a",
                address="10.1.2.3:4000",
                traits=Traits(modifier1=5, modifier2=7, weight=3, backup=2, algorithm="lrc"),
                has_weight=True,
            ),
        ),
        ("server=1.1.1.1:1,key=a,socket=1,check=/x", Subscription("1.1.1.1:1", "a", socket=1, check="/x")),
    ],
)
def test_subscribe2(text, expected):
    assert parse_subscriptions([], [text]) == [expected]


@pytest.mark.parametrize(
    ("to", "two", "expected"),
    [
        (["127.0.0.1:7000"], [], "SERVER:KEY"),
        (["127.0.0.1:7000:"], [], "SERVER:KEY"),
        (["=x=1.1.1.1:1:a"], [], "shared socket"),
        (["1.1.1.1:1:a,5,SHA9:/k.pem"], [], "DIGEST one of SHA1"),
        (["1.1.1.1:1:a,x"], [], "whole number"),
        ([], ["server=1.1.1.1:1"], "server=ADDRESS,key=KEY"),
        ([], ["server=1.1.1.1:1,key=a,wieght=3"], "wieght"),
        ([], ["server=1.1.1.1:1,key=a,weight=x"], "whole number"),
    ],
)
def test_mistakes_say_what_was_expected(to, two, expected):
    with pytest.raises(SubscriberError, match=expected):
        parse_subscriptions(to, two)


def test_keyval_escapes():
    assert parse_keyval(r"a=1\,2,b=\\,a=3") == {"a": "3", "b": "\\"}


def test_mapping_files_are_read_line_by_line(tmp_path):
    file = tmp_path / "mappings.txt"
    file.write_text("# comment\nunbit.it\nunbit.it:8000,5\n\nuwsgi.it")
    template = Announcement("", "127.0.0.1:80", traits=Traits(modifier1=3))
    found = Subscription("s", mapping=str(file)).announcements(template)
    assert [(one.key, one.traits.modifier1) for one in found] == [
        ("unbit.it", 3),
        ("unbit.it:8000", 5),
        ("uwsgi.it", 3),
    ]
