"""Hard speakers: the dictionary by brute force, its file, its memory, and the batches made with it."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openkith.errors import ConfigError, InputError, NotEnoughDataError
from openkith.neural_scoring import (
    HardSpeakerSampler,
    hard_speakers,
    load_hard_speakers,
    mean_embeddings,
    save_hard_speakers,
)
from openkith.neural_scoring import mining as mining_module


def people(count: int, dim: int = 8, seed: int = 0) -> tuple[list[str], Any]:
    means = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return [f"id{number:05d}" for number in range(count)], means


class TestMeans:
    def test_by_hand(self) -> None:
        embeddings = [[3.0, 0.0], [0.0, 2.0], [0.0, -5.0]]
        names, means = mean_embeddings(embeddings, ["b", "b", "a"])
        assert names == ["a", "b"]
        np.testing.assert_allclose(means, [[0, -1], [0.5, 0.5]])
        assert means.dtype == np.float32

    def test_refused(self) -> None:
        with pytest.raises(InputError, match=r"embeddings have shape \(2, 3\) for 1 names"):
            mean_embeddings(np.zeros((2, 3)), ["a"])


class TestHardSpeakers:
    @pytest.mark.parametrize("chunk", [1, 7, 40, 1000])
    @pytest.mark.parametrize("top", [1, 5, 39, 100])
    def test_by_brute_force(self, top: int, chunk: int) -> None:
        names, means = people(40)
        found = hard_speakers(names, means, top, chunk=chunk)
        assert list(found) == names
        unit = means / np.linalg.norm(means, axis=1, keepdims=True)
        for i, name in enumerate(names):
            others = sorted((-float(unit[i] @ unit[j]), j) for j in range(40) if j != i)
            assert found[name] == [names[j] for _, j in others][:top]

    def test_length_does_not_matter(self) -> None:
        names, means = people(12)
        longer = means * np.random.default_rng(1).uniform(0.1, 9, (12, 1))
        assert hard_speakers(names, longer, 4) == hard_speakers(names, means, 4)

    def test_one_speaker_has_no_others(self) -> None:
        assert hard_speakers(["only"], np.ones((1, 4))) == {"only": []}
        assert hard_speakers([], np.ones((0, 4))) == {}

    def test_memory_does_not_grow_with_the_square(self) -> None:
        """10 000 speakers need 400 MB for all cosines at once; here a fifth is used at most."""
        names, means = people(10_000, 64)
        tracemalloc.start()
        found = hard_speakers(names, means, 20, chunk=128)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 80e6
        assert len(found) == 10_000
        assert {len(others) for others in found.values()} == {20}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"names": ["a", "b"]}, r"means have shape \(3, 2\) for 2 names"),
            ({"names": ["a", "b", "a"]}, "a speaker's name is there twice"),
            ({"means": [[1, 2], [np.nan, 1], [0, 1]]}, "not finite"),
            ({"top": 0}, "top is 0"),
            ({"chunk": 0}, "chunk is 0"),
        ],
    )
    def test_refused(self, change: dict[str, Any], message: str) -> None:
        arguments: dict[str, Any] = {"names": ["a", "b", "c"], "means": np.eye(3, 2), "top": 1}
        with pytest.raises(InputError, match=message):
            hard_speakers(**{**arguments, **change})


class TestFile:
    @pytest.mark.parametrize("name", ["hard.json", "hard.tsv"])
    def test_round_trip(self, name: str, tmp_path: Path) -> None:
        hard = {"id1": ["id2", "Ana María"], "id2": [], 'the "tab"\there': ["id1"]}
        save_hard_speakers(tmp_path / "new" / name, hard)
        assert load_hard_speakers(tmp_path / "new" / name) == hard
        assert [path.name for path in (tmp_path / "new").iterdir()] == [name]

    def test_json_is_that_of_the_authors(self, tmp_path: Path) -> None:
        save_hard_speakers(tmp_path / "hard.json", {"a": ["b", "c"]})
        assert json.loads((tmp_path / "hard.json").read_text("utf-8")) == {"a": ["b", "c"]}

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("absent.json", None),
            ("broken.json", "{"),
            ("list.json", "[1]"),
            ("numbers.json", '{"a": [1]}'),
            ("other.tsv", "path\tspeaker\n"),
            ("empty.tsv", ""),
            ("endless.tsv", "speaker\n" + 200_000 * "x"),
        ],
    )
    def test_another_file_is_one_line(self, name: str, content: str | None, tmp_path: Path) -> None:
        if content is not None:
            (tmp_path / name).write_text(content, "utf-8")
        with pytest.raises(InputError) as caught:
            load_hard_speakers(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x", "utf-8")
        with pytest.raises(InputError, match="cannot be written"):
            save_hard_speakers(tmp_path / "file" / "hard.json", {})


def corpus(people_count: int, utterances: int, seed: int = 0) -> tuple[list[str], dict[str, list[str]]]:
    """Whose each utterance is, in mixed order and unequal numbers; and neighbours, two steps either way on a ring."""
    rng = np.random.default_rng(seed)
    names = [f"p{number}" for number in range(people_count)]
    owners = [name for name in names for _ in range(int(rng.integers(1, 2 * utterances)))]
    rng.shuffle(owners)
    hard = {
        names[i]: [names[(i + step) % people_count] for step in (1, -1, 2, -2)] for i in range(people_count)
    }
    return owners, hard


class TestSampler:
    @settings(max_examples=40, deadline=None)
    @given(
        st.integers(5, 20),
        st.integers(1, 6),
        st.integers(1, 9),
        st.integers(1, 3),
        st.integers(0, 5),
        st.integers(1, 6),
    )
    def test_balanced_and_the_same_for_many_processes(
        self, count: int, turns: int, size: int, world: int, epoch: int, group: int
    ) -> None:
        owners, hard = corpus(count, 3)
        if count * turns < size * world:
            with pytest.raises(NotEnoughDataError, match="do not fill"):
                HardSpeakerSampler(owners, hard, size, turns=turns, world_size=world)
            return

        def batches(batch_size: int, rank: int = 0, world_size: int = 1) -> list[list[Any]]:
            sampler = HardSpeakerSampler(
                *(owners, hard, batch_size),
                **{"turns": turns, "group": group, "rank": rank, "world_size": world_size, "seed": 4},
            )
            sampler.set_epoch(epoch)
            found = list(sampler)
            assert len(found) == len(sampler)
            return found

        whole = batches(size * world)
        parts = [batches(size, rank, world) for rank in range(world)]
        assert all(len(batch) == size for part in parts for batch in part)
        joined = [[draw for part in together for draw in part] for together in zip(*parts, strict=True)]
        assert joined == whole
        places = [draw for batch in whole for draw in batch]
        assert len(places) == count * turns // (size * world) * size * world
        counts = Counter(owners[draw.enrolment] for draw in places)
        most, least = max(counts.values()), min(counts[name] for name in set(owners))
        assert most - least <= 1
        # Within a round, and so within any batch inside it, nobody has two turns.
        for start in range(0, len(places) - count + 1, count):
            assert len({owners[draw.enrolment] for draw in places[start : start + count]}) == count

    def test_who_is_drawn(self) -> None:
        owners, hard = corpus(12, 4)
        many = {name for name, number in Counter(owners).items() if number >= 2}
        assert many < set(owners)  # some have but one utterance
        for batch in HardSpeakerSampler(owners, hard, 6, turns=30):
            for draw in batch:
                speaker, other = owners[draw.enrolment], owners[draw.second]
                assert owners[draw.test] == owners[draw.spare] == speaker
                assert other in hard[speaker]
                assert owners[draw.second_enrolment] == other != speaker
                assert (draw.test != draw.enrolment) == (speaker in many)
                assert (draw.second != draw.second_enrolment) == (other in many)

    def test_every_utterance_has_its_chance(self) -> None:
        owners, hard = corpus(6, 3)
        sampler = HardSpeakerSampler(owners, hard, 4, turns=60)
        seen = {index for batch in sampler for draw in batch for index in draw[:2]}
        assert seen == set(range(len(owners)))

    def test_batches_hold_people_who_sound_alike(self) -> None:
        """60 people in 15 families of 4; with batches of 4 chance would put 0.15 of a person's family beside them."""
        names = [f"p{number}" for number in range(60)]
        hard = {
            name: [other for other in names if other != name and int(other[1:]) // 4 == int(name[1:]) // 4]
            for name in names
        }
        owners = names * 5

        def alike(neighbours: dict[str, list[str]]) -> float:
            batches = list(HardSpeakerSampler(owners, neighbours, 4, turns=20, group=4))
            pairs = [
                (int(owners[a.enrolment][1:]) // 4, int(owners[b.enrolment][1:]) // 4)
                for batch in batches
                for i, a in enumerate(batch)
                for b in batch[i + 1 :]
            ]
            return float(np.mean([a == b for a, b in pairs]))

        assert alike(hard) == 1.0
        assert alike({}) < 0.15

    def test_epochs_and_seeds_differ(self) -> None:
        owners, hard = corpus(9, 4)
        first, again, other = (HardSpeakerSampler(owners, hard, 4, seed=seed) for seed in (1, 1, 2))
        assert list(first) == list(again) == list(first)
        assert list(first) != list(other)
        first.set_epoch(1)
        assert list(first) != list(again)

    @pytest.mark.parametrize("size", [4, 7, 20])
    def test_resumes_in_the_middle(self, size: int) -> None:
        owners, hard = corpus(9, 4)
        sampler = HardSpeakerSampler(owners, hard, size, turns=11, rank=1, world_size=2)
        whole = list(sampler)
        for start in range(len(whole) + 1):
            sampler.set_epoch(0, first_batch=start)
            assert list(sampler) == whole[start:]

    def test_turns_are_the_mean_number_of_utterances(self) -> None:
        owners = ["a"] * 9 + ["b"] * 2 + ["c"]
        assert HardSpeakerSampler(owners, {}, 2).turns == 4
        assert len(HardSpeakerSampler(owners, {}, 2)) == 6

    def test_neighbours_without_utterances_are_passed_over(self) -> None:
        owners = ["a", "a", "b", "b", "c"]
        sampler = HardSpeakerSampler(owners, {"a": ["x", "a", "b"], "z": ["a"]}, 3, turns=9)
        second = {(owners[draw.enrolment], owners[draw.second]) for batch in sampler for draw in batch}
        assert second == {("a", "b"), ("b", "a"), ("b", "c"), ("c", "a"), ("c", "b")}

    def test_a_data_loader_takes_it(self) -> None:
        data = pytest.importorskip("torch.utils.data")
        owners, hard = corpus(6, 3)

        class Owners(data.Dataset):  # type: ignore[misc, name-defined]
            def __getitem__(self, draw: Any) -> str:
                return owners[draw.enrolment]

        sampler = HardSpeakerSampler(owners, hard, 4)
        loaded = list(data.DataLoader(Owners(), batch_sampler=sampler))
        assert loaded == [[owners[draw.enrolment] for draw in batch] for batch in sampler]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"batch_size": 0}, "batch_size is 0"),
            ({"turns": 0}, "turns is 0"),
            ({"group": 0}, "group is 0"),
            ({"rank": 2, "world_size": 2}, "rank is 2; give 0 to 1"),
        ],
    )
    def test_options_are_checked(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            HardSpeakerSampler(["a", "b"], {}, **{"batch_size": 1, **options})

    def test_one_speaker_is_not_enough(self) -> None:
        with pytest.raises(NotEnoughDataError, match="1 speakers"):
            HardSpeakerSampler(["a", "a"], {}, 1)


def test_a_chunk_of_the_default_is_small() -> None:
    """10 000 speakers: cosines of one chunk, their negative, and the indices argpartition gives."""
    assert mining_module.CHUNK * 10_000 * (4 + 4 + 8) < 100e6
