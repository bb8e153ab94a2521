from scal3r_ros.nodes.mapper.faults import FaultLog


def test_each_kind_is_said_once_and_counted_always():
    said: list[str] = []
    faults = FaultLog(said.append)
    for _ in range(3):
        faults.report("dark", "the image is dark; open the lens")
    faults.report("lost", "images were lost; slow down", 5)
    assert [sentence.split(";")[0] for sentence in said] == ["the image is dark", "images were lost"]
    assert faults.counts() == {"dark": 3, "lost": 5}
