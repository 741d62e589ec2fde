"""m06: readings, scores, attention, search against brute force, stopped and shared runs, a toy language learnt."""

import io
import itertools
import json
import random
import sys

import numpy as np
import pytest
import tensorflow as tf
from model_folders import copy_alone, finish, modules, start, weights

NAMES = (
    "runner",
    "layers",
    "corpus",
    "data",
    "score",
    "baselines",
    "recurrent",
    "model",
    "transformer",
    "network",
)
NAMES += ("plots", "search", "train", "convert", "evaluate")
found = modules("m06_seq2seq", *NAMES)
runner, layers, corpus, data, score, baselines, recurrent, model, transformer, network = found[:10]
plots, search, train, convert, evaluate = found[10:]
Piece = data.Piece

TINY = [
    "--preset=cpu",
    "--units=16",
    "--embedding=12",
    "--batch_size=128",
    "--log_every=5",
    "--sample_every=1000",
]
MODELS = pytest.mark.parametrize("kind", ["attention", "transformer"])
BOTH = pytest.mark.parametrize("constrain", [True, False], ids=["constrained", "free"])


def toy_lines(count=700, seed=0):
    """Sentences of a language in which the word before tells which characters `bei jing` and `shi` are."""
    draw = random.Random(seed)
    lines = []
    for _ in range(count):
        words = []
        for _ in range(draw.randint(3, 6)):
            place = draw.choice(
                [["去", "北京"], ["看", "背景"], ["买", "柿"], ["是", "十"], ["我", "们"], ["，"]]
            )
            words += place
        lines.append("  ".join(f"{word}/n" for word in [*words, draw.choice(["。", "！"])]))
    return lines


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "toy.txt"
    path.write_text("\n".join(toy_lines()) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(text, tmp_path_factory):
    """A network that has learnt the toy language."""
    folder = tmp_path_factory.mktemp("run") / "toy"
    options = [*TINY, "--steps=260", "--dropout=0", "--learning_rate=0.01", "--save_every=1000"]
    train.main([*options, f"--data_path={text}", f"--output_dir={folder}"])
    return folder


SMALL = data.Vocabulary(
    ["0", "，"],
    {
        "shi": {"是": 5, "十": 3, "市": 1},
        "bei": {"北": 4, "被": 2},
        "wo": {"我": 3},
        "jing": {"京": 2, "经": 2},
    },
)


def small_network(kind="attention", constrain=True, seed=3, spread=4.0):
    """An untrained network over SMALL; its scores are stretched, so that choices differ."""
    flags = [
        "--model",
        kind,
        "--units=16",
        "--embedding=12",
        "--preset=cpu",
        "--constrain" if constrain else "--no-constrain",
    ]
    args = train.parse_args([*flags, f"--seed={seed}"])
    made = network.make_network(args, SMALL)
    head = made.scores if kind == "transformer" else made.decoder.scores
    for variable in head.trainable_variables:
        variable.assign(spread * variable)
    if kind == "attention":
        made.decoder.embedding.assign(20.0 * made.decoder.embedding)  # what was written before matters
    return made


def ids(*sentences, length=None):
    """Typed sentences as an array of symbol numbers."""
    parts = [Piece(tuple(s.split()), tuple(s.split())) for s in sentences]
    return data.encode(SMALL, parts, length or max(len(p.symbols) for p in parts)).symbols


def log_probability(made, symbols, characters):
    """The log probability of written characters by teacher forcing, one row; `characters` ends in END when free."""
    before = tf.constant([[data.START, *characters[:-1]]], tf.int32)
    logits = tf.nn.log_softmax(made.logits(tf.constant([symbols], tf.int32), before)[0])[:, 0].numpy()
    total = 0.0
    for t, character in enumerate(characters):
        place = list(SMALL.candidates[symbols[t]]).index(character) if made.constrain else character
        total += logits[t, place]
    return total


# --------------------------------------------------------------------------------------------------------- the score
def test_edit_distance_against_the_recursion():
    def slow(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(slow(a[1:], b) + 1, slow(a, b[1:]) + 1, slow(a[1:], b[1:]) + (a[0] != b[0]))

    draw = random.Random(0)
    for _ in range(60):
        a, b = ("".join(draw.choices("甲乙丙", k=draw.randint(0, 5))) for _ in range(2))
        assert score.edit_distance(a, b) == slow(a, b) == score.edit_distance(b, a)
    assert score.edit_distance("kitten", "sitting") == 3


def test_character_error_rate_counts_characters_not_sentences():
    pairs = [("我是", "我是"), ("北京市", "北京"), ("", "十市十")]
    assert score.character_error_rate(pairs) == pytest.approx((0 + 1 + 3) / 7)
    low, high = score.interval(pairs * 20)
    assert low < 4 / 7 < high
    with pytest.raises(ValueError, match="no text"):
        score.character_error_rate([])


# ---------------------------------------------------------------------------------------------------------- the data
def test_readings_come_from_the_word():
    assert data.read_aloud("银行行走").symbols == ("yin", "hang", "xing", "zou")
    assert data.read_aloud("长大，校长").symbols == ("zhang", "da", "，", "xiao", "zhang")
    assert data.read_aloud("女略").symbols == ("nv", "lve")
    piece = data.read_aloud("1998年GDP增3.5%")
    assert piece.symbols == ("0", "nian", "a", "zeng", "0", "%")
    assert piece.characters == ("1998", "年", "GDP", "增", "3.5", "%")


def test_cutting_loses_nothing_and_prefers_marks():
    draw = random.Random(1)
    for _ in range(50):
        symbols = tuple(draw.choices(["shi", "wo", "，"], [4, 4, 1], k=draw.randint(1, 60)))
        parts = list(data.cut(Piece(symbols, symbols), 10))
        assert sum((part.symbols for part in parts), ()) == symbols
        assert all(1 <= len(part.symbols) <= 10 for part in parts)
        for part in parts[:-1]:
            assert part.symbols[-1] == "，" or (len(part.symbols) == 10 and "，" not in part.symbols)


def test_the_parts_share_nothing_and_the_vocabulary_is_of_training_alone(text):
    parts = data.load(str(text))
    vocabulary = data.Vocabulary.of(parts["train"])
    seen = {(s, c) for piece in parts["train"] for s, c in zip(*piece) if data.HANZI.match(c)}
    assert {(s, c) for s, row in vocabulary.counts.items() for c in row} == seen
    texts = [{"".join(piece.characters) for piece in part} for part in parts.values()]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2] and all(texts)
    assert not any("。" in piece.symbols for part in parts.values() for piece in part)


def test_numbers_and_back():
    piece = Piece(("wo", "0", "shi", "，", "？", "bei"), ("我", "98", "市", "，", "？", "杯"))
    symbols, characters = SMALL.encode(piece)
    names = [SMALL.characters[c] for c in characters]
    assert names == ["我", "0", "市", "，", "#", "#"], "an unseen mark and an unseen character are OTHER"
    assert [SMALL.symbols[s] for s in symbols] == ["wo", "0", "shi", "，", "#", "bei"]
    row = SMALL.candidates[SMALL.syllables["shi"]]
    assert [SMALL.characters[c] for c in row] == ["是", "十", "市"], "most frequent first"


def test_an_epoch_holds_every_piece_once_and_is_a_function_of_the_step():
    make = lambda n, length: data.Encoded(*[np.arange(1, n + 1)[:, None] * np.ones(length, np.int32)] * 2)
    buckets = [make(24, 5), make(30, 10)]
    batches, again = data.Batches(buckets, 40, 7), data.Batches(buckets, 40, 7)
    assert batches.rows == [8, 4] and len(batches.plan) == 3 + 7
    seen = [set(), set()]
    for step in range(10):
        bucket, rows = batches.rows_of(step)
        assert not seen[bucket] & set(rows)
        seen[bucket] |= set(rows)
    assert len(seen[0]) == 24 and len(seen[1]) == 28, "at most one batch a length is left out"
    for step in (13, 2, 25, 2):
        assert np.array_equal(again.rows_of(step)[1], data.Batches(buckets, 40, 7).rows_of(step)[1])
    other = [data.Batches(buckets, 40, 8).rows_of(step) for step in range(10)]
    assert any(not np.array_equal(a[1], batches.rows_of(step)[1]) for step, a in enumerate(other))


def test_padding_is_measured():
    shares = data.padding([3, 3, 6], bounds=(3, 6, 12))
    assert shares["bucketed"] == 0 and shares["as they come"] == pytest.approx(1 - 12 / 18)
    assert shares["one length"] == pytest.approx(1 - 12 / 36)


# ----------------------------------------------------------------------------------------------------- the baselines
def test_kneser_ney_rows_are_distributions_and_trust_what_follows_many():
    counts = np.zeros((5, 5), np.float32)
    for a, b, n in [(0, 1, 9), (0, 2, 1), (1, 2, 1), (2, 2, 1), (3, 1, 2)]:
        counts[a, b] = n
    table = baselines.kneser_ney(counts)
    np.testing.assert_allclose(table.sum(1), 1, rtol=1e-5)
    assert (table > 0).all()
    assert table[4, 2] > table[4, 1], "seen less often, but after more different characters"


def small_bigram():
    """A bigram model of five sentences."""
    train_pieces = [
        Piece(("wo", "shi", "bei", "jing"), tuple(s)) for s in ("我是北京", "我是被经", "我市北京")
    ]
    train_pieces += [Piece(("shi", "bei"), ("十", "被"))] * 2
    return baselines.Bigram.of(SMALL, train_pieces)


def test_a_bigram_model_is_stored_whole(tmp_path):
    made = small_bigram()
    made.save(tmp_path / "bigram.npz")
    read = baselines.Bigram.read(tmp_path / "bigram.npz", SMALL)
    assert np.array_equal(read.follows, made.follows) and np.array_equal(read.sounds, made.sounds)
    number = {c: i for i, c in enumerate(SMALL.characters)}
    assert made.sounds[SMALL.syllables["shi"], number["是"]] == 0, "it has one reading"
    assert made.counts[number["我"], number["是"]] == 2
    (tmp_path / "bigram.npz").write_bytes((tmp_path / "bigram.npz").read_bytes()[:100])
    for path in (tmp_path / "bigram.npz", tmp_path / "none.npz"):
        with pytest.raises(runner.Stop, match=r"--bigram 0 does without"):
            baselines.Bigram.read(path, SMALL)


def test_viterbi_against_all_sentences():
    bigram = small_bigram()
    for sentence in ("wo shi bei jing", "shi shi shi", "bei ， shi bei", "jing"):
        symbols = ids(sentence)[0]
        choices = [[c for c in SMALL.candidates[s] if c] for s in symbols]

        def value(path, symbols=symbols):
            steps = zip([data.START, *path], [*path, data.END])
            return sum(bigram.follows[a, b] for a, b in steps) + sum(
                bigram.sounds[s, c] for s, c in zip(symbols, path)
            )

        best = max(itertools.product(*choices), key=value)
        assert value(tuple(bigram.best(symbols))) == pytest.approx(value(best), abs=1e-4)
    assert [SMALL.characters[c] for c in baselines.most_frequent(SMALL, ids("shi bei")[0])] == ["是", "北"]


# ------------------------------------------------------------------------------------------------------- the network
def test_lstm_and_its_gradient_against_the_plain_loop():
    noise = lambda *shape: tf.constant(np.random.default_rng(len(shape)).normal(0, 0.5, shape), tf.float32)
    x, weights_, target = noise(6, 3, 4), [noise(4, 20), noise(5, 20), noise(20)], noise(6, 3, 5)

    def plain(x, kernel, recurrent, bias):
        h, c, out = tf.zeros([3, 5]), tf.zeros([3, 5]), []
        for step in tf.unstack(x):
            i, f, g, o = tf.split(step @ kernel + h @ recurrent + bias, 4, axis=1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
            out.append(h)
        return tf.stack(out)

    results = []
    for layer in (plain, tf.function(recurrent.lstm, autograph=False)):
        with tf.GradientTape() as tape:
            tape.watch([x, *weights_])
            y = layer(x, *weights_)
            loss = tf.reduce_sum(y * target)
        results.append([y, *tape.gradient(loss, [x, *weights_])])
    for ours, theirs in zip(results[1], results[0]):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_candidates_are_scored_as_one_by_one():
    head = small_network().decoder.scores
    draw = np.random.default_rng(0)
    symbols = draw.integers(1, len(SMALL.symbols), 70).astype(np.int32)
    h = draw.normal(size=(70, 16)).astype(np.float32)
    logits = head(tf.constant(h), tf.constant(symbols)).numpy()
    table, index = SMALL.candidates, head.index.numpy()
    for row, symbol, scores in zip(h, symbols, logits):
        for k, character in enumerate(table[symbol]):
            vector, bias = head.vectors.numpy()[index[symbol, k]], head.bias.numpy()[index[symbol, k]]
            expected = row @ vector + bias if character else -np.inf
            assert scores[k] == pytest.approx(expected, abs=1e-4)


def test_attention_sums_to_one_and_ignores_padding():
    made = small_network()
    symbols = ids("wo shi bei jing", "shi", "bei jing", length=7)
    before = tf.constant(np.full((3, 4), data.START, np.int32))
    attended = made.logits(tf.constant(symbols), before[:, :1] * tf.ones([1, 7], tf.int32))[1].numpy()
    np.testing.assert_allclose(attended.sum(2), 1, rtol=1e-6)
    for row, length in enumerate((4, 1, 2)):
        assert (attended[row, :, length:] == 0).all() and (attended[row, :, :length] > 0).all()


@MODELS
@BOTH
def test_padding_changes_no_score(kind, constrain):
    made = small_network(kind, constrain)
    length = lambda n: n + (not constrain)
    short, padded = ids("shi bei jing"), ids("shi bei jing", "wo shi bei jing shi shi", length=8)
    before = np.full((2, length(8)), data.PAD, np.int32)
    before[:, : length(3)] = data.START
    alone = made.logits(tf.constant(short), tf.constant(before[:1, : length(3)]))[0][:, 0].numpy()
    among = made.logits(tf.constant(padded), tf.constant(before))[0][: length(3), 0].numpy()
    np.testing.assert_allclose(among, alone, atol=2e-5)


@MODELS
@BOTH
def test_the_loss_leaves_out_padding_and_what_need_not_be_written(kind, constrain):
    """A constrained network is not asked for marks; one that writes freely must write them and stop."""
    made = small_network(kind, constrain)
    pieces = [Piece(("shi", "，", "bei"), ("十", "，", "被")), Piece(("wo", "shi"), ("我", "市"))]

    def sums(parts, length):
        encoded = data.encode(SMALL, parts, length)
        asked = [tf.constant(array) for array in encoded]
        before, target, counts = network.wanted(made, *asked, SMALL.first_syllable)
        total, right = network.masked_loss(made.logits(asked[0], before)[0], target, counts)
        return float(total), float(right), int(tf.reduce_sum(tf.cast(counts, tf.int32)))

    each = [sums([piece], len(piece.symbols)) for piece in pieces]
    both = sums(pieces, 9)
    np.testing.assert_allclose(both[0], sum(value[0] for value in each), rtol=1e-5)
    assert both[2] == (2 + 2 if constrain else 3 + 1 + 2 + 1), "mark and END count where they must be written"
    symbols, characters = SMALL.encode(pieces[1])
    expected = -log_probability(made, symbols, characters if constrain else [*characters, data.END])
    np.testing.assert_allclose(each[1][0], expected, rtol=1e-4)


def test_padding_gives_no_gradient():
    made = small_network()
    with tf.GradientTape() as tape:
        encoded = [tf.constant(a) for a in data.encode(SMALL, [Piece(("shi", "bei"), ("十", "被"))], 6)]
        before, target, counts = network.wanted(made, *encoded, SMALL.first_syllable)
        loss, _ = network.masked_loss(made.logits(encoded[0], before)[0], target, counts)
    for gradient in tape.gradient(loss, made.trainable_variables):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()


def test_dropout_is_a_function_of_the_step():
    made = small_network()
    symbols, before = tf.constant(ids("wo shi bei")), tf.constant(ids("wo shi bei"))
    logits = lambda step: made.logits(symbols, before, step)[0].numpy()
    assert np.array_equal(logits(tf.constant(4)), logits(tf.constant(4)))
    assert not np.array_equal(logits(tf.constant(4)), logits(tf.constant(5)))
    assert np.array_equal(logits(None), logits(None))


# -------------------------------------------------------------------------------------------------------- the search
SENTENCES = ids("wo shi bei jing", "shi shi", "bei", "shi bei ， shi bei", "jing shi bei jing shi")


@MODELS
@BOTH
def test_beam_of_width_one_is_greedy(kind, constrain):
    made = small_network(kind, constrain)
    found, gained = search.greedy(made, tf.constant(SENTENCES))
    wide, scores = search.beam(made, tf.constant(SENTENCES), 1)
    assert np.array_equal(found, wide[:, 0])
    np.testing.assert_allclose(gained, scores[:, 0], atol=1e-4)


@MODELS
def test_beam_finds_all_sentences_in_order(kind):
    """Wide enough, it is brute force: every sentence of the candidates, with its probability."""
    for seed in range(3):
        made = small_network(kind, seed=seed)
        symbols = ids("shi bei ， jing")[0]
        choices = [[c for c in SMALL.candidates[s] if c] for s in symbols]
        every = sorted(
            ((log_probability(made, symbols, p), p) for p in itertools.product(*choices)), reverse=True
        )
        wide, scores = search.beam(made, tf.constant(symbols[None]), 20)
        assert len(every) == 12 and np.isneginf(scores[0, 12:]).all()
        assert [tuple(row) for row in wide[0, :12].numpy()] == [path for _, path in every]
        np.testing.assert_allclose(scores[0, :12], [value for value, _ in every], atol=1e-4)
        assert np.exp([value for value, _ in every]).sum() == pytest.approx(1, abs=1e-4)


@MODELS
def test_network_and_bigram_model_score_all_sentences_together(kind):
    """Every sentence has the network's log probability and the weighted sum of the bigram model's."""
    made, bigram, weight = small_network(kind), small_bigram(), 0.7
    # In SMALL each character has one reading; so that the readings count, they get values by chance.
    bigram.sounds = np.random.default_rng(0).normal(size=bigram.sounds.shape).astype(np.float32)
    both = search.WithBigram(made, bigram, weight)
    symbols = ids("shi bei ， jing")[0]

    def value(path):
        counted = sum(bigram.follows[a, b] for a, b in zip([data.START, *path], path))
        counted += sum(bigram.sounds[s, c] for s, c in zip(symbols, path))
        return log_probability(made, symbols, path) + weight * counted

    choices = [[c for c in SMALL.candidates[s] if c] for s in symbols]
    every = sorted(((value(path), path) for path in itertools.product(*choices)), reverse=True)
    wide, scores = search.beam(both, tf.constant(symbols[None]), 20)
    assert [tuple(row) for row in wide[0, :12].numpy()] == [path for _, path in every]
    np.testing.assert_allclose(scores[0, :12], [one for one, _ in every], atol=1e-3)
    batch = tf.constant(SENTENCES)
    for one, other in zip(
        search.beam(search.WithBigram(made, bigram, 0), batch, 3), search.beam(made, batch, 3)
    ):
        np.testing.assert_allclose(one, other, atol=1e-4)


@BOTH
def test_a_wider_beam_is_no_worse_than_greedy_and_its_scores_are_right(constrain):
    better = 0
    for seed in range(8):
        made = small_network(constrain=constrain, seed=seed)
        _, gained = search.greedy(made, tf.constant(SENTENCES))
        wide, scores = search.beam(made, tf.constant(SENTENCES), 6)
        if (
            constrain
        ):  # no theorem, as the best beginning may be given up; but six are plenty for these sentences
            assert (scores[:, 0].numpy() >= gained.numpy() - 1e-4).all()
        assert (scores[:, 1:].numpy() <= scores[:, :-1].numpy()).all()
        better += np.sign(np.round(scores[:, 0].numpy() - gained.numpy(), 3)).sum()
        if constrain:
            for symbols, path, value in zip(SENTENCES, wide[:, 0].numpy(), scores[:, 0].numpy()):
                length = np.count_nonzero(symbols)
                assert log_probability(made, symbols[:length], path[:length]) == pytest.approx(
                    value, abs=1e-3
                )
                assert (path[length:] == data.PAD).all() and (path[:length] != data.PAD).all()
    assert better > 0, "somewhere the search finds what greedy misses"


# ------------------------------------------------------------------------------------------------- learning, using it
def test_a_toy_language_is_learnt(run, text):
    result = json.loads((run / "result.json").read_text())
    assert result["validation_accuracy"] > 0.97
    vocabulary = data.Vocabulary.read(run / "vocabulary.json")
    parts = data.load(str(text))["test"]
    plain = [baselines.most_frequent(vocabulary, vocabulary.encode(p)[0]) for p in parts]
    made = network.read_run(run)[0]
    network_found = evaluate.convert_all(made, vocabulary, parts, 4)
    errors = lambda found: score.character_error_rate(
        [data.hanzi_pair(vocabulary, p, f) for p, f in zip(parts, found)]
    )
    assert errors(network_found) < 0.01 < 0.1 < errors(plain), "the word before decides"


def test_different_inputs_give_different_outputs(run):
    converter = convert.Converter(run, 4)
    lines = ["qu bei jing", "kan bei jing", "mai shi", "shi shi", "wo men qu bei jing ， kan bei jing"]
    texts = [converter(line)[0][0] for line in lines]
    assert texts == ["去北京", "看背景", "买柿", "是十", "我们去北京，看背景"]


def test_the_attention_is_drawn(run):
    made, vocabulary, *_ = network.read_run(run)
    symbols, characters = vocabulary.encode(data.read_aloud("我们去北京看背景"))
    attended = plots.attention_weights(made, symbols, characters)
    np.testing.assert_allclose(attended.sum(1), 1, rtol=1e-5)
    assert attended.shape == (8, 8)
    picture = plots.attention_picture(made, vocabulary, symbols, characters)
    assert picture.dtype == np.uint8 and picture.std() > 10


def test_without_a_chinese_font_the_rows_have_numbers(run, monkeypatch, recwarn):
    monkeypatch.setattr(plots, "FONTS", ("no such font",))
    made, vocabulary, *_ = network.read_run(run)
    assert (
        plots.attention_picture(made, vocabulary, *vocabulary.encode(data.read_aloud("去北京"))) is not None
    )
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_what_is_typed_is_understood(run):
    vocabulary = data.Vocabulary.read(run / "vocabulary.json")
    piece = convert.parse("woqu  BeiJing,1998 bei'jing看!", vocabulary)
    assert piece.symbols == ("wo", "qu", "a", "，", "0", "bei", "jing", "#", "！")
    assert piece.characters == ("", "", "BeiJing", ",", "1998", "", "", "看", "!")
    assert convert.take_apart("kanbeijing", vocabulary) == ["kan", "bei", "jing"]
    for wrong, named in (("qu xyz", '"xyz"'), ("kanbeijinq", '"jinq" begins'), ("bei3jing", "")):
        if named:
            with pytest.raises(runner.Stop, match=named):
                convert.parse(wrong, vocabulary)


def test_what_is_not_converted_comes_back(run):
    converter = convert.Converter(run, 4)
    assert converter("qu beijing, 3.5 wo men!")[0][0] == "去北京, 3.5我们!"
    assert converter("kan beijing。 qu bei jing。")[0][0] == "看背景。去北京。"
    assert converter("NBA 2026 ☃")[0][0] == "NBA 2026 ☃"
    assert converter("")[0][0] == ""
    long = converter(" ".join(["qu bei jing"] * 40))[0][0]
    assert len(long) == 120 and long.count("去北京") > 36
    top = converter("kan bei jing", 3)
    assert len({candidate for candidate, _ in top}) == 3 and top[0][1] > top[1][1] > top[2][1]


def test_the_commands(run, text, capsys, monkeypatch, tmp_path):
    convert.main(["--run", str(run), "--top", "2", "qu bei jing", "--plot", str(tmp_path / "a.png")])
    assert "去北京" in capsys.readouterr().out.splitlines()[0] and (tmp_path / "a.png").exists()
    monkeypatch.setattr(sys, "stdin", io.StringIO("qu bei jing\nkan bei jing\n"))
    convert.main(["--run", str(run), "--top", "1"])
    assert capsys.readouterr().out == "去北京\n看背景\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO("qu bei jing\nkan xyz\n"))
    with pytest.raises(runner.Stop, match='line 2: "xyz" begins with no pinyin syllable'):
        convert.main(["--run", str(run)])
    written = tmp_path / "figures.json"
    evaluate.main(["--run", str(run), "--data_path", str(text), "--beam", "1", "--json", str(written)])
    rows = json.loads(written.read_text())["rows"]
    ways = {"toy, greedy", f"toy, greedy, bigram {search.WEIGHT:g}"}
    assert set(rows) == {"most frequent character", "bigram model, Viterbi", *ways}
    assert rows["toy, greedy"]["cer"] < rows["most frequent character"]["cer"]
    assert "CER" in capsys.readouterr().out


# -------------------------------------------------------------------------------------------------------------- runs
class Killed(Exception):
    pass


@pytest.mark.parametrize("kind, constrain", [("attention", True), ("transformer", False)])
def test_a_killed_run_ends_with_the_same_weights(kind, constrain, text, tmp_path, monkeypatch):
    flags = ["--model", kind, "--constrain" if constrain else "--no-constrain", "--steps=6", "--save_every=3"]
    flags += [*TINY, f"--data_path={text}", "--sample_every=3"]
    train.main([*flags, f"--output_dir={tmp_path / 'whole'}"])
    save = runner.Run.save

    def save_and_die(self):
        save(self)
        if int(self.step.numpy()) == 3:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(runner.Run, "save", save_and_die)
        with pytest.raises(Killed):
            train.main([*flags, f"--output_dir={tmp_path / 'killed'}"])
    train.main([*flags, f"--output_dir={tmp_path / 'killed'}"])
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert whole.keys() == resumed.keys() and len(whole) > 20
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


def test_a_copied_folder_trains_on_two_replicas_as_on_one(text, tmp_path):
    copy = copy_alone("m06_seq2seq", tmp_path / "alone")
    flags = [*TINY, "--steps=4", f"--data_path={text}"]
    shared = ["--distribute=mirrored", "--logical_devices=2", f"--output_dir={tmp_path / 'two'}"]
    code, out, err = finish(start(copy / "train.py", *flags, *shared, cwd=tmp_path))
    assert code == 0, err
    assert "retracing" not in err and "Traceback" not in err
    train.main([*flags, f"--output_dir={tmp_path / 'one'}"])
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        if "network" in name and one[name].dtype == np.float32:
            # Adam divides by the gradient's size: where that is about 0, rounding moves a weight by the rate.
            assert np.mean(np.abs(one[name] - two[name]) > 1e-4) < 0.01, name
    code, out, err = finish(
        start(copy / "convert.py", "--run", tmp_path / "two", "qu bei jing", cwd=tmp_path)
    )
    assert code == 0 and len(out.splitlines()) == 3 and err == "", err


# ------------------------------------------------------------------------------------------------------------ errors
def test_errors_say_what_mends_them(run, text, tmp_path):
    with pytest.raises(runner.Stop, match=r"holds no trained network. Train one:  python train.py"):
        network.read_run(tmp_path)
    with pytest.raises(runner.Stop, match="units 16, this one has 24"):
        train.main([*TINY, "--units=24", f"--data_path={text}", f"--output_dir={run}"])
    other = tmp_path / "other.txt"
    other.write_text("\n".join(toy_lines(400, seed=5)).replace("我", "他"), encoding="utf-8")
    with pytest.raises(runner.Stop, match="a run of another text"):
        train.main([*TINY, f"--data_path={other}", f"--output_dir={run}"])
    with pytest.raises(runner.Stop, match="another text"):
        evaluate.main(["--run", str(run), "--data_path", str(other), "--no-baselines"])
    with pytest.raises(runner.Stop, match="cannot be read"):
        data.load(str(tmp_path / "missing.txt"))
    for flags in (
        ["--dropout=1"],
        ["--units=0"],
        ["--learning_rate=0"],
        ["--model=transformer", "--units=6"],
    ):
        with pytest.raises(runner.Stop):
            train.parse_args(flags)
    with pytest.raises(SystemExit):
        convert.parse_args(["--top", "0"])
    (tmp_path / "vocabulary.json").write_text("{")
    with pytest.raises(runner.Stop, match="cannot be read"):
        data.Vocabulary.read(tmp_path / "vocabulary.json")
