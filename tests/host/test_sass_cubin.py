"""Reading cubins: agreement with an ELF library, and a clear refusal of everything else."""

import io
import random
import struct

import pytest
from sass_compile import BLOCK_N, nvrtc_cubin, promotion_cubin
from sass_handmade import EXIT, cubin, promotion

from nvgemm.errors import SassError
from nvgemm.sass import elf, policy
from nvgemm.sass.cubin import functions


@pytest.mark.parametrize("block_n", BLOCK_N)
def test_sections_agree_with_pyelftools(block_n: int) -> None:
    elffile = pytest.importorskip("elftools.elf.elffile", reason="pyelftools is not installed")
    image = promotion_cubin(block_n)
    expected = {
        section.name.removeprefix(".text."): (section["sh_offset"], section["sh_size"])
        for section in elffile.ELFFile(io.BytesIO(image)).iter_sections()
        if section.name.startswith(".text.")
    }
    assert {kernel.name: (kernel.offset, kernel.size) for kernel in functions(image)} == expected
    assert set(expected) == {"promotion", "polynomial"}


def test_registers_are_read() -> None:
    registers = {kernel.name: kernel.registers for kernel in functions(promotion_cubin(128))}
    assert registers["promotion"] == 168  # 65536 registers for 384 threads, in steps of 8
    assert registers["polynomial"] is not None
    assert registers["polynomial"] < 32


def test_relocations_name_instructions() -> None:
    kernel, other = functions(cubin({"a": [*promotion(), EXIT], "b": promotion()}, relocated=[3, 9]))
    assert kernel.relocated == {3, 9}
    assert not other.relocated


def test_real_relocations_are_found() -> None:
    source = b"""__device__ int table[64];
    extern "C" __global__ void gather(int* d) { d[threadIdx.x] = table[d[threadIdx.x] & 63]; __trap(); }"""
    (kernel,) = functions(nvrtc_cubin(source, {}))
    assert all(0 <= index < kernel.size // 16 for index in kernel.relocated)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (b"", "not an ELF file"),
        (b"\x7fELF", "end inside the 64-byte ELF header"),
        (b"#include <cuda.h>", "not an ELF file"),
        (bytes(5000), "not an ELF file"),
    ],
)
def test_what_is_no_cubin_is_named(image: bytes, words: str) -> None:
    with pytest.raises(SassError, match=words) as caught:
        functions(image)
    assert caught.value.rule is None


def with_bytes(image: bytes, offset: int, content: bytes) -> bytes:
    return image[:offset] + content + image[offset + len(content) :]


@pytest.mark.parametrize(
    ("offset", "content", "words", "rule"),
    [
        (4, b"\1", "little-endian 64-bit", None),
        (5, b"\2", "little-endian 64-bit", None),
        (18, b"\x3e\0", "machine 62 is not CUDA", 10),
        (48, struct.pack("<I", 0x6005004), "built for sm_80", 10),
        (40, struct.pack("<Q", 1 << 40), "section header 0", None),
        (40, struct.pack("<Q", 2**64 - 1), "section header 0", None),
        (58, struct.pack("<H", 40), "broken section table", None),
        (60, struct.pack("<HH", 0, 0), "broken section table", None),
        (62, struct.pack("<H", 900), "broken section table", None),
    ],
)
def test_broken_headers(offset: int, content: bytes, words: str, rule: int | None) -> None:
    with pytest.raises(SassError, match=words) as caught:
        functions(with_bytes(promotion_cubin(64), offset, content))
    assert caught.value.rule == rule


def test_other_architectures() -> None:
    image = nvrtc_cubin(b'extern "C" __global__ void none() {}', {}, "sm_80")
    with pytest.raises(SassError, match="built for sm_80") as caught:
        functions(image)
    assert caught.value.rule == 10


def test_older_toolkits_keep_the_architecture_elsewhere() -> None:
    image = cubin({"a": [EXIT]}, flags=0x5A0D5A)
    assert functions(with_bytes(image, 7, b"\x33"))[0].name == "a"
    with pytest.raises(SassError, match="sm_13"):
        functions(image)


def test_code_must_be_whole_instructions() -> None:
    image = cubin({"a": [EXIT, EXIT]})
    header = len(image) - 4 * 64 + 64  # of the first section behind the null one
    with pytest.raises(SassError, match="whole, aligned 16-byte"):
        functions(with_bytes(image, header + 32, struct.pack("<Q", 24)))


def test_overlapping_code_is_refused() -> None:
    image = cubin({"a": [EXIT, EXIT], "b": [EXIT, EXIT]})
    header = len(image) - 5 * 64 + 64
    with pytest.raises(SassError, match="overlap"):
        functions(with_bytes(image, header + 24, struct.pack("<Q", 80)))


def test_every_truncation_is_refused() -> None:
    image = promotion_cubin(64)
    for length in (*range(0, 600, 7), *range(600, len(image), 251)):
        with pytest.raises(SassError, match="cubin: "):
            policy.apply(image[:length], "e2p1")


def test_random_bytes_never_crash() -> None:
    generator = random.Random(5)
    starts = (b"", b"\x7fELF", promotion_cubin(64)[:9], promotion_cubin(64)[:52])
    for length in range(0, 2000, 11):
        with pytest.raises(SassError, match="cubin: "):
            functions(generator.choice(starts) + generator.randbytes(length))


def test_damaged_bytes_never_crash() -> None:
    image, generator = promotion_cubin(64), random.Random(7)
    table = struct.unpack_from("<Q", image, 40)[0]
    for _ in range(400):
        damaged = bytearray(image)
        for _ in range(generator.randint(1, 6)):
            start = generator.choice((0, table, 64, 1800))
            damaged[start + generator.randrange(min(1500, len(image) - start))] = generator.randrange(256)
        try:
            policy.apply(bytes(damaged), "s2e2")
        except SassError as error:
            assert str(error).startswith("cubin: ")  # noqa: PT017


def test_sections_that_share_the_file_are_refused() -> None:
    """65,000 of them that each span a small file would be read for minutes."""
    raw = cubin({"k": [EXIT]}, relocated=[0])
    (table,), (count,) = struct.unpack_from("<Q", raw, 40), struct.unpack_from("<H", raw, 60)
    many = bytearray(raw)
    for i in range(1, count):
        struct.pack_into("<QQ", many, table + 64 * i + 24, 0, len(raw))
    with pytest.raises(SassError, match="sections overlap"):
        functions(bytes(many))


def test_names_do_nothing_to_a_terminal() -> None:
    (function,) = functions(cubin({"k\x1b[2J\n": [EXIT]}))
    assert function.name == "k\ufffd[2J\ufffd"


def test_a_name_without_end_is_refused() -> None:
    with pytest.raises(SassError, match=r"the name at .* has 100006 bytes"):
        functions(cubin({"k" * 100_000: [EXIT]}))


def test_names_that_many_sections_share_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """65,000 sections with one name of 16 KiB would take a gigabyte."""
    monkeypatch.setattr(elf, "_MOST_NAMES", 20)
    with pytest.raises(SassError, match="have more than 20 bytes together"):
        functions(cubin({"a_name_of_some_length": [EXIT]}))


def test_register_counts_name_symbols_that_are_there() -> None:
    """Else a count of nobody is passed over, however many there are."""
    raw = bytearray(promotion_cubin(64))
    (info,) = (section for section in elf.sections(bytes(raw)) if section.name == ".nv.info")
    assert functions(bytes(raw))[0].registers
    for at in range(info.offset, info.offset + info.size, 4):
        if raw[at : at + 4] == b"\x04\x2f\x08\x00":  # sized, a register count, of 8 bytes
            raw[at + 4 : at + 8] = b"\xff" * 4
    assert functions(bytes(raw))[0].registers is None
