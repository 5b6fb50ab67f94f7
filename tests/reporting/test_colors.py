"""Colours are even in lightness and readable on both pages."""

from __future__ import annotations

from itertools import pairwise

from cmt_cli.reporting.colors import LINES_ON_DARK, LINES_ON_LIGHT, contrast, dark_ink_from, ink, luminance, sequential


def test_the_map_grows_lighter_at_every_step() -> None:
    assert all(luminance(dark) < luminance(light) for dark, light in pairwise(sequential()))


def test_numbers_on_every_color_of_the_map_are_readable() -> None:
    colors = sequential()
    assert min(contrast(ink(color), color) for color in colors) > 4.5
    assert [ink(color) == "#000000" for color in colors] == [i / 63 >= dark_ink_from() for i in range(64)]


def test_lines_stand_out_from_their_page() -> None:
    assert min(contrast(color, "#ffffff") for color in LINES_ON_LIGHT) > 4.5
    assert min(contrast(color, "#1b1f27") for color in LINES_ON_DARK) > 4.5


def test_contrast_of_black_and_white_is_21() -> None:
    assert round(contrast("#000000", "#ffffff"), 6) == 21.0
