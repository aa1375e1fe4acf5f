"""Who is mixed with whom: never an enrolled speaker; ranges, steps and orders; errors of lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openkith.audio.noise_folders import NoiseTree
from openkith.data.simulation.planning import (
    GENERATED,
    SCENARIOS,
    SimulationOptions,
    Source,
    TestFile,
    Voices,
    check_voices,
    list_interferers,
    list_tests,
    output_path,
    plan,
)
from openkith.data.trials import Trial, read_trials
from openkith.errors import ConfigError, ManifestError, NotEnoughDataError

OPTIONS = SimulationOptions()


def people(count: int, clips: int = 2) -> Voices:
    return Voices(
        {
            f"s{k:03}": tuple(
                Source(f"s{k:03}", Path(f"s{k:03}/{i}.wav"), f"s{k:03}/{i}.wav") for i in range(clips)
            )
            for k in range(count)
        }
    )


def test_nobody_who_enrols_is_drawn() -> None:
    """Over 400 random lists, where few speakers are left, and some have names that are not in the corpus."""
    rng = np.random.default_rng(0)
    for seed in range(400):
        voices = people(int(rng.integers(2, 12)))
        out = int(rng.integers(1, len(voices.speakers)))
        avoided = frozenset(rng.choice(voices.speakers, out, replace=False)) | {"stranger", "a", "z"}
        test = TestFile(f"s000/{seed}.wav", "s000", avoided | {"s000"}, 1)
        if not voices.besides(test.avoided):
            continue
        for scenario in SCENARIOS:
            made = plan(test, scenario, SimulationOptions(seed=seed), voices)
            drawn = (*made.interferers, *(made.noise.sources if made.noise else ()))
            assert not {source.speaker for source in drawn} & test.avoided
            assert len({source.speaker for source in drawn}) == len(drawn)
            assert bool(made.interferers) == (scenario in ("concat", "overlap", "mix"))
            assert len(made.interferers) in (0, min(8, voices.besides(test.avoided)))


def test_every_other_speaker_and_clip_is_drawn_alike() -> None:
    voices, rng = people(5, clips=2), np.random.default_rng(0)
    drawn = [voices.draw(rng, 1, {"s001", "s003", "x"})[0] for _ in range(3000)]
    names, counts = np.unique([source.shown for source in drawn], return_counts=True)
    assert list(names) == [f"s{k:03}/{i}.wav" for k in (0, 2, 4) for i in (0, 1)]
    assert counts.min() > 400  # 500 are expected, and the deviation is 20
    assert counts.max() < 600
    assert voices.draw(rng, 3, set(voices.speakers)) == ()
    assert voices.besides({"s001", "x"}) == 4


def plans(scenario: str, options: SimulationOptions = OPTIONS, count: int = 2000) -> list:
    voices = people(4)
    tests = (TestFile(f"s000/{k}.wav", "s000", frozenset({"s000", "s001"}), 1) for k in range(count))
    return [plan(test, scenario, options, voices) for test in tests]


def test_ratios_levels_and_orders() -> None:
    made = plans("overlap")
    levels, counts = np.unique([each.snr_db for each in made], return_counts=True)
    np.testing.assert_array_equal(levels, np.arange(-3, 3.5, 0.5))
    assert counts.min() > 100  # 154 are expected, and the deviation is 12
    ratios = np.array([each.ratio for each in made])
    assert 0.1 <= ratios.min() < 0.11
    assert 0.89 < ratios.max() <= 0.9
    np.testing.assert_allclose(np.quantile(ratios, [0.25, 0.5, 0.75]), [0.3, 0.5, 0.7], atol=0.04)
    # Draws of one file do not follow each other.
    first = np.array([each.target_first for each in made])
    for a, b in (
        (first, ratios),
        (first, [each.snr_db for each in made]),
        (ratios, [each.snr_db for each in made]),
    ):
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.08


@pytest.mark.parametrize(("scenario", "least", "most"), [("concat", 0.45, 0.55), ("overlap", 0.45, 0.55)])
def test_the_order_is_random(scenario: str, least: float, most: float) -> None:
    assert least < np.mean([each.target_first for each in plans(scenario)]) < most


@pytest.mark.parametrize("scenario", ["noisy", "mix", "clean"])
def test_there_is_no_order_where_both_begin_together(scenario: str) -> None:
    assert all(each.target_first for each in plans(scenario, count=200))


def test_kinds_of_noise() -> None:
    kinds, counts = np.unique([each.noise.kind for each in plans("noisy")], return_counts=True)
    assert set(kinds) == {*GENERATED, "babble"}
    assert counts.min() > 320  # of 400
    babble = [each.noise for each in plans("noisy") if each.noise.kind == "babble"]
    assert {noise.files for noise in babble} == {3, 4, 5, 6, 7}
    alone = TestFile("s000/0.wav", "s000", frozenset({"s000"}), 1)
    made = [plan(alone, "noisy", SimulationOptions(seed=k), people(1)) for k in range(100)]
    assert {each.noise.kind for each in made if each.noise} == set(GENERATED)  # nobody is there to babble


def test_a_plan_depends_on_its_file_and_the_seed_alone() -> None:
    wide = SimulationOptions(scenarios=("mix",), snr=(-3, 3))
    assert plans("mix", wide, 5) == plans("mix", OPTIONS, 8)[:5]
    assert plans("mix", SimulationOptions(seed=1), 20) != plans("mix", OPTIONS, 20)


def test_rooms() -> None:
    made = plans("concat", SimulationOptions(rooms=0.25))
    assert 0.2 < np.mean([each.in_room for each in made]) < 0.3
    assert not any(each.in_room for each in plans("clean", SimulationOptions(rooms=1), 50))
    assert not any(each.in_room for each in plans("concat", count=50))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"scenarios": ("clean", "loud")},
            "scenario 'loud' is unknown; use clean, noisy, concat, overlap, mix",
        ),
        ({"scenarios": ()}, "scenarios is empty"),
        ({"snr": (3, -3)}, "snr is 3 to -3; give two numbers, the smaller one first"),
        ({"snr": (0.1, 0.4)}, "no step of 0.5 is in it"),
        ({"snr": (0, 1000)}, "within 100 dB"),
        ({"snr": (float("nan"), 1)}, "snr is nan"),
        ({"overlap": (0, 0.5)}, "overlap is 0 to 0.5; give shares above 0 and up to 1"),
        ({"overlap": (0.5, 1.5)}, "overlap is 0.5 to 1.5"),
        ({"rooms": 2}, "rooms is 2"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_options_out_of_range(options: dict, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SimulationOptions(**options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scenarios_have_one_order() -> None:
    assert SimulationOptions(("mix", "clean", "mix")).scenarios == ("clean", "mix")


def listed(text: str, tmp_path: Path) -> tuple:
    path = tmp_path / "t.txt"
    path.write_text(text)
    return list_tests(read_trials(path), path, tmp_path / "root")


def test_a_list_of_voxceleb(tmp_path: Path) -> None:
    tests, voices, speakers = listed(
        "1 wav/id00001/a/1.wav wav/id00001/b/2.wav\n"
        "0 wav/id00002/a/1.wav wav/id00001/b/2.wav\n"
        "0 wav/id00001/a/1.wav wav/id00003/b/2.wav\n",
        tmp_path,
    )
    assert tests == (
        TestFile("wav/id00001/b/2.wav", "id00001", frozenset({"id00001", "id00002"}), 2),
        TestFile("wav/id00003/b/2.wav", "id00003", frozenset({"id00001", "id00003"}), 1),
    )
    assert voices.speakers == ("id00001", "id00002", "id00003")
    assert [source.shown for source in voices.files["id00001"]] == [
        "wav/id00001/a/1.wav",
        "wav/id00001/b/2.wav",
    ]
    assert voices.files["id00003"][0].path == tmp_path / "root" / "wav/id00003/b/2.wav"
    assert speakers["wav/id00002/a/1.wav"] == "id00002"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 ann/1.wav ann/2.wav\n1 ann/1.wav 3.wav\n", "t.txt:2: 3.wav: is in no speaker's folder"),
        ("1 ann/1.wav ben/2.wav\n", "t.txt:1: label 1, and the folders say ann and ben; correct the line"),
        ("0 x/ann/1.wav x/ben/2.wav\n", "paths must begin with the speaker's folder"),
        ("0 ann/1.wav ../ben/2.wav\n", "t.txt:1: ../ben/2.wav: is not below the root"),
        ("0 ann/1.wav /ben/2.wav\n", "t.txt:1: /ben/2.wav: is not below the root"),
        (
            "1 a/1.wav a/2.wav\n1 a/1.wav a/2.flac\n",
            "t.txt:2: a/2.flac and a/2.wav would be written to one file; rename one",
        ),
    ],
)
def test_errors_name_the_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ManifestError) as caught:
        listed(text, tmp_path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_where_a_file_is_written() -> None:
    assert output_path("mix", "ann/1.flac") == "mix/ann/1.wav"
    assert output_path("mix", "./ann/take.1") == "mix/ann/take.1.wav"  # no suffix of audio


def test_nobody_is_left(tmp_path: Path) -> None:
    trials = [Trial(True, "a/1.wav", "a/2.wav"), Trial(False, "b/1.wav", "a/2.wav")]
    tests, voices, _ = list_tests(trials, tmp_path / "t.txt", tmp_path)
    with pytest.raises(
        NotEnoughDataError, match=r"t\.txt: nobody is left.*a/2\.wav: all 2 speakers.*--interferers"
    ):
        check_voices(tests, voices, None, OPTIONS, tmp_path / "t.txt")
    check_voices(tests, voices, None, SimulationOptions(("clean", "noisy")), tmp_path / "t.txt")


def test_a_noise_folder_of_responses_alone(tmp_path: Path) -> None:
    tree = NoiseTree(tmp_path, {"response": (tmp_path / "rirs" / "1.wav",)})
    with pytest.raises(ConfigError, match="no noise, music or speech in it"):
        check_voices((), people(3), tree, OPTIONS, tmp_path)


def test_a_folder_of_interferers(corpus: Path) -> None:
    voices = list_interferers(corpus)
    assert len(voices.speakers) == 6
    assert voices.files["id10002"][1] == Source("id10002", corpus / "id10002/v/1.wav", "id10002/v/1.wav")
