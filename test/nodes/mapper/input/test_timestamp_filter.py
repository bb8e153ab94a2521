from scal3r_ros.nodes.mapper.input.timestamp_filter import StampVerdict, TimestampFilter

SECOND = 10**9


def test_later_stamps_pass_and_others_do_not():
    gate = TimestampFilter(3.0)
    stamps = [10 * SECOND, 11 * SECOND, 11 * SECOND, 9 * SECOND, 12 * SECOND]
    assert [gate.judge(stamp).value for stamp in stamps] == ["next", "next", "not later", "not later", "next"]


def test_only_a_step_back_beyond_the_limit_is_a_jump():
    gate = TimestampFilter(3.0)
    gate.judge(10 * SECOND)
    assert gate.judge(7 * SECOND) is StampVerdict.NOT_LATER
    assert gate.judge(7 * SECOND - 1) is StampVerdict.JUMPED_BACK


def test_a_refused_stamp_leaves_no_trace():
    gate = TimestampFilter(3.0)
    gate.judge(10 * SECOND)
    gate.judge(1 * SECOND)
    assert gate.newest_ns == 10 * SECOND
    gate.forget()
    assert gate.judge(1 * SECOND) is StampVerdict.NEXT
