"""What a query gets in each mode that is the same over UDP and over streams. Pure."""

import random

from lab.faults import message


def replies(asked, words):
    """What is sent for a query in a mode: pairs of seconds and bytes."""
    kind, number = words[0], int(words[1]) if len(words) > 1 else 0
    good = message.answer(asked)
    wrong = {"wrong_id": lambda: flip(good), "wrong_question": lambda: other_question(asked)}
    if kind in wrong:
        sent = [(0, wrong[kind]()) for _ in range(number or 1)]
        return sent + [(0.02, good)] if number else sent
    return {
        "good": [(0, good)],
        "brief": [(0, message.answer(asked, ttl=1))],
        "silent": [],
        "delay": [(number / 1000, good)],
        "truncated": [(0, message.answer(asked, truncated=True))],
        "servfail": [(0, message.answer(asked, message.SERVFAIL))],
        "refused": [(0, message.answer(asked, message.REFUSED))],
        "formerr": [(0, good if asked[10:12] == b"\0\0" else old_formerr(asked))],
        "garbage": [(0, random.randbytes(40))],
        "broken": [(0, good[:len(good) - 14])],  # ID and question are right, the rest is cut
    }[kind]


def old_formerr(asked):
    """What a server from before EDNS says to it."""
    return asked[:2] + b"\x81\x81" + b"\0" * 8


def flip(reply):
    """The reply with another ID."""
    return bytes([reply[0] ^ 0x55, reply[1] ^ 0xAA]) + reply[2:]


def other_question(asked):
    """A good answer to a question that nobody has asked, with the right ID."""
    return message.answer(message.query("other.example", number=int.from_bytes(asked[:2], "big")))
