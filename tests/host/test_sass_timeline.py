"""The model of issue: stalls, yields, read ports and the reuse cache, each alone."""

from sass_handmade import NOP, Word, ffma

from nvgemm.sass.control import RZ, Instruction
from nvgemm.sass.report.terminal import CELLS
from nvgemm.sass.report.timeline import timeline


def strip(words: list[Word]) -> str:
    program = [Instruction(*word, index) for index, word in enumerate(words)]
    return "".join(CELLS[cell] for cell in timeline(program))


def easy(count: int, **fields: int) -> list[Word]:
    """Each FFMA reads one register of either bank."""
    return [ffma(2 * i, 129 + 2 * i, RZ, 2 * i, **fields) for i in range(count)]


def test_a_stall_and_a_yield_give_the_slot_away() -> None:
    assert strip(easy(4)) == "FFFF"
    assert strip(easy(4, stall=3)) == "F··F··F··F"  # nothing is known of what follows the last
    assert strip(easy(4, yields=True)) == "F·F·F·F"
    assert strip(easy(4, stall=2, yields=True)) == "F·F·F·F"  # waiting two cycles, it has nothing to yield
    assert strip([*easy(2), NOP, *easy(2)]) == "FFoFF"


def test_three_reads_on_two_ports_take_a_cycle_and_a_half() -> None:
    one_bank = [ffma(2 * i, 128 + 2 * i, 200 + 2 * i, 2 * i) for i in range(9)]
    cells = strip(one_bank)  # three reads of one port each
    assert cells.count("F") == 9
    assert len(cells) == 1 + 3 * 8
    mixed = strip([ffma(2 * i, 129 + 2 * i, 100 + i, 2 * i) for i in range(41)])
    assert 1.4 < len(mixed) / 41 < 1.6


def test_reuse_needs_no_port() -> None:
    def words(reuse: int) -> list[Word]:
        return [ffma(2 * i, 129 + 2 * i, 100, 2 * i, reuse=reuse) for i in range(20)]

    assert "!" in strip(words(0))
    assert strip(words(2)) == "F" * 20


def test_what_is_kept_ends_with_the_next_read_of_its_slot_and_bank() -> None:
    kept = ffma(0, 129, 100, 0, reuse=2)
    others = [ffma(2, 131, 102, 2), ffma(4, 133, 102, 4)]  # slot B, the same bank, another register
    again = [ffma(6, 135, 100, 6), ffma(8, 137, 100, 8), ffma(10, 139, 100, 10)]
    assert strip([kept, *others, *again]) == strip([ffma(0, 129, 100, 0), *others, *again])


def test_reuse_bits_of_a_yield_are_none() -> None:
    assert strip([ffma(2 * i, 129 + 2 * i, 100, 2 * i, yields=True, reuse=2) for i in range(30)]) == strip(
        [ffma(2 * i, 129 + 2 * i, 100, 2 * i, yields=True) for i in range(30)]
    )


def test_nothing_issues_in_no_time() -> None:
    assert strip([]) == ""
