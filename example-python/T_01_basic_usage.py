# %% [markdown]
# # T_01 Basic usage
#
# **Question**: what are tensors, variables, graphs and gradients, and how do they fit a curve to data?
#
# **After this lesson you can**
# 1. make tensors and variables, compute with them, and read their shapes and types;
# 2. say what `tf.function` does with a Python function, and take gradients through it;
# 3. read a TensorFlow 1.x program: placeholders, a session, `feed_dict`, `get_variable`.
#
# **Read before**: nothing. Some Python and NumPy is enough.
#
# **Time**: 5 seconds on a two-core CPU, from a measured run.

# %%
import os
import sys

from utils.lesson import quiet_start, report, save_figure

quiet_start()  # TensorFlow without its start-up messages
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

print("TensorFlow", tf.__version__, "· Keras", keras.__version__, "· NumPy", np.__version__)

# %% [markdown]
# ## Knobs
# Every lesson keeps what you may want to change in one cell. `TUTORIAL_QUICK=1` in the environment makes a
# lesson small enough for tests; it changes sizes and nothing else.

# %%
QUICK = os.environ.get("TUTORIAL_QUICK") == "1"
SEED = 1
POINTS = 100  # how many noisy points of the curve we observe
NOISE = 0.02  # standard deviation of the noise
LEARNING_RATE = 0.4  # step size of gradient descent; try 2.5 and see it diverge
STEPS = 60 if QUICK else 100

# %% [markdown]
# A seed makes the random numbers the same on every run. This one call seeds Python, NumPy, TensorFlow and Keras.

# %%
keras.utils.set_random_seed(SEED)

# %% [markdown]
# ## Tensors
# A tensor is an array of one type with any number of dimensions. It is like a NumPy array, with two differences:
# it may live on a GPU, and it cannot be changed. The number of entries along each dimension is its *shape*.

# %%
scalar = tf.constant(3.0)  # shape ()
vector = tf.constant([1.0, 2.0, 3.0])  # shape (3,)
matrix = tf.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])  # shape (2, 3)
integers = tf.constant([1, 2, 3])  # whole numbers become int32

for name, tensor in [("scalar", scalar), ("vector", vector), ("matrix", matrix), ("integers", integers)]:
    print(f"{name:<9} shape {tensor.shape!s:<7} dtype {tensor.dtype.name}")

# %% [markdown]
# TensorFlow never converts between types by itself. Adding whole numbers to floating-point numbers is an error;
# `tf.cast` converts.

# %%
try:
    vector + integers
except tf.errors.InvalidArgumentError as error:
    print("error:", error.message)

print("after tf.cast:", (vector + tf.cast(integers, tf.float32)).numpy())

# %% [markdown]
# Tensors come from NumPy and go back to it. `.numpy()` gives the array.

# %%
from_numpy = tf.constant(np.arange(6).reshape(2, 3))
print(from_numpy)
print("back again:", type(from_numpy.numpy()).__name__, from_numpy.numpy().dtype)

# %% [markdown]
# ## Arithmetic and matrix products
# `+ - * /` work entry by entry. Where shapes differ, the smaller tensor is stretched along its missing or
# one-sized dimensions; this is called *broadcasting*. `@` is the matrix product.

# %%
print("matrix * 2          \n", (matrix * 2).numpy())
print("matrix + vector     \n", (matrix + vector).numpy())  # (2, 3) + (3,): the vector is added to each row
print("matrix @ transposed \n", (matrix @ tf.transpose(matrix)).numpy())  # (2, 3) @ (3, 2) -> (2, 2)
print("mean of all entries   ", tf.reduce_mean(matrix).numpy())
print("sum of each row       ", tf.reduce_sum(matrix, axis=1).numpy())

# %% [markdown]
# Check one entry by hand: row 1 times column 2 of the product is 1·4 + 2·5 + 3·6 = 32, as printed.

# %% [markdown]
# ## Variables
# A model learns by changing its parameters, so these need a place that can be written: a `tf.Variable`. It has a
# fixed shape and type, a name, and a flag that says whether training may change it.

# %%
weight = tf.Variable([[1.0, -1.0]], name="weight")
step = tf.Variable(0, name="step", dtype=tf.int64, trainable=False)  # a counter: no gradient should touch it

weight.assign([[2.0, 0.5]])
weight.assign_add([[0.1, 0.1]])
step.assign_add(1)
for variable in (weight, step):
    print(variable.name, variable.shape, variable.dtype.name, "trainable" if variable.trainable else "fixed", "=",
          variable.numpy())  # fmt: skip

# %% [markdown]
# The shape is part of the variable. A value of another shape is refused.

# %%
try:
    weight.assign([1.0, 2.0, 3.0])
except ValueError as error:
    print("error:", str(error).split("Shape mismatch.")[1])


# %% [markdown]
# ### State in practice: a running mean
# Variables also hold what a program must remember from call to call. After $n$ numbers with mean $m$, a new number
# $x$ moves the mean to $m + (x - m)/(n + 1)$. No list of old numbers is needed.


# %%
class RunningMean:
    """The mean of all numbers given so far."""

    def __init__(self):
        self.count = tf.Variable(0.0, trainable=False, name="count")
        self.mean = tf.Variable(0.0, trainable=False, name="mean")

    def update(self, value):
        self.count.assign_add(1.0)
        self.mean.assign_add((value - self.mean) / self.count)
        return self.mean.read_value()


NUMBERS = [3.0, 5.0, 10.0, 6.0]
running_mean = RunningMean()
modern_means = [float(running_mean.update(number)) for number in NUMBERS]
for number, mean in zip(NUMBERS, modern_means):
    print(f"new number {number:4.1f}   mean so far {mean:.2f}")

# %% [markdown]
# ## Eager execution and `tf.function`
# So far every line ran at once, as Python does. This is *eager execution*: easy to follow and to debug.
# `tf.function` does something else. On the first call it runs your Python once, not to compute but to *record* the
# TensorFlow operations; this is called *tracing*. The recording is a graph. Later calls run the graph and skip
# Python. A `print` shows this: it is Python, so it runs while tracing only.


# %%
@tf.function
def area(width, height):
    print("  tracing for", width.dtype.name, width.shape)  # Python: once for each kind of input
    tf.print("  running with", width, height, output_stream=sys.stdout)  # TensorFlow: on every call
    return width * height


print("first call")
area(tf.constant(2.0), tf.constant(3.0))
print("second call, same type: no tracing")
area(tf.constant(4.0), tf.constant(5.0))
print("third call, other type: traced again")
area(tf.constant(2), tf.constant(3))
print("recordings kept:", area.experimental_get_tracing_count())

# %% [markdown]
# Two rules follow. Give a `tf.function` tensors, not Python numbers: each new Python number is a new kind of input
# and is traced again. And keep Python side effects, such as appending to a list, out of it.
#
# A graph pays where many small operations follow each other, because Python no longer runs between them.

# %%
import timeit


def many_small_steps(x):
    for _ in range(200):
        x = x * 1.01 + 0.01
    return x


compiled_steps = tf.function(many_small_steps)
start = tf.constant([1.0, 2.0])
compiled_steps(start)  # trace outside the measurement

REPEATS = 5 if QUICK else 50
eager_ms = min(timeit.repeat(lambda: many_small_steps(start), number=REPEATS, repeat=3)) / REPEATS * 1e3
graph_ms = min(timeit.repeat(lambda: compiled_steps(start), number=REPEATS, repeat=3)) / REPEATS * 1e3
print(f"eager {eager_ms:.2f} ms, graph {graph_ms:.2f} ms: {eager_ms / graph_ms:.0f} times faster")
tf.debugging.assert_near(many_small_steps(start), compiled_steps(start))

# %% [markdown]
# ## Gradients
# Training needs to know how a result changes when a parameter changes. A `tf.GradientTape` watches the operations
# on variables and then applies the chain rule backwards.
#
# By hand first: for $f(x) = x^2 + 3x$ the derivative is $2x + 3$, so at $x = 2$ it is 7.

# %%
x = tf.Variable(2.0)
with tf.GradientTape() as tape:
    f = x**2 + 3 * x
print("f(2) =", f.numpy(), "  f'(2) =", tape.gradient(f, x).numpy())

# %% [markdown]
# ## A curve from noisy points
# Now all parts together. Somebody measured points of $y = 0.2\,x^2 + 0.3$, with noise. We know the form
# $y = a\,x^2 + b$, but not $a$ and $b$.

# %%
true_a, true_b = 0.2, 0.3
random = np.random.default_rng(SEED)
x_data = random.uniform(-1, 1, POINTS).astype(np.float32)  # (points,)
y_data = (true_a * x_data**2 + true_b + random.normal(0, NOISE, POINTS)).astype(np.float32)  # (points,)
print("x", x_data.shape, x_data[:4])
print("y", y_data.shape, y_data[:4])

# %% [markdown]
# The *loss* measures how far the curve is from the points: the mean of the squared distances. *Gradient descent*
# moves each parameter a small step against its gradient, again and again:
#
# $$a \leftarrow a - \eta\,\frac{\partial\,\text{loss}}{\partial a}, \qquad
#   b \leftarrow b - \eta\,\frac{\partial\,\text{loss}}{\partial b}.$$
#
# An optimizer object would do this for us. Written out, it is one line per parameter.

# %%
a = tf.Variable(0.0, name="a")
b = tf.Variable(0.0, name="b")


@tf.function
def descend(x, y):
    """One step of gradient descent; x and y are (points,). Returns the loss before the step."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((a * x**2 + b - y) ** 2)
    gradient_a, gradient_b = tape.gradient(loss, [a, b])
    a.assign_sub(LEARNING_RATE * gradient_a)
    b.assign_sub(LEARNING_RATE * gradient_b)
    return loss


x_tensor, y_tensor = tf.constant(x_data), tf.constant(y_data)
history = []  # (a, b, loss) before each step
for number in range(STEPS):
    before = float(a.numpy()), float(b.numpy())
    history.append((*before, float(descend(x_tensor, y_tensor))))
    if number % (STEPS // 5) == 0:
        print(f"step {number:3d}   a {before[0]:.4f}   b {before[1]:.4f}   loss {history[-1][2]:.6f}")
print(f"step {STEPS:3d}   a {a.numpy():.4f}   b {b.numpy():.4f}   (true: {true_a}, {true_b})")

# %% [markdown]
# Is this the best curve? This problem is small enough to solve exactly: least squares gives the $a$ and $b$ with
# the smallest possible loss.

# %%
columns = np.stack([x_data**2, np.ones(POINTS)], axis=1)  # (points, 2)
best_a, best_b = np.linalg.lstsq(columns, y_data, rcond=None)[0]
print(f"least squares   a {best_a:.4f}   b {best_b:.4f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
grid = np.linspace(-1, 1, 200)
left.scatter(x_data, y_data, s=14, color="0.6", label="noisy points")
for number, style in [(1, ":"), (10, "--")]:
    left.plot(grid, history[number][0] * grid**2 + history[number][1], style, color="tab:blue", lw=1,
              label=f"after step {number}")  # fmt: skip
left.plot(grid, a.numpy() * grid**2 + b.numpy(), color="tab:red", lw=2, label=f"after step {STEPS}")
left.set(title="The fit moves to the points", xlabel="x", ylabel="y")
left.legend(fontsize=8)
right.semilogy([loss for _, _, loss in history], color="tab:red", label="gradient descent")
floor = np.mean((columns @ [best_a, best_b] - y_data) ** 2)
right.axhline(floor, color="0.4", ls="--", lw=1, label="least squares: the smallest loss there is")
right.set(title="Loss", xlabel="step", ylabel="mean squared error (log scale)")
right.legend(fontsize=8)
save_figure(figure, "T_01_fit.png")

# %% [markdown]
# On the left the curve first rises to the height of the points and then bends. On the right the loss falls fast,
# because $b$ is easy to learn, then slowly while $a$ catches up, and stops at the noise: no curve of this form
# gets below the dashed line.

# %% [markdown]
# ## On a machine with a GPU
# TensorFlow places operations on a GPU by itself. By default it takes nearly all GPU memory at once. To take
# memory only as needed, so that several programs share the GPU, say so before the first operation runs on it.

# %%
gpus = tf.config.list_physical_devices("GPU")
print("GPUs:", [gpu.name for gpu in gpus] or "none; everything here runs on the CPU")
for gpu in gpus:
    try:
        tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError as error:  # the GPU is in use already: this belongs at the top of a program
        print(error)

# %% [markdown]
# # The same in TF 1.x
# Until 2019 a TensorFlow program had two phases: first *describe* a graph, then *run* it in a session. Nothing
# computes while you describe. `tf.compat.v1` still runs such programs. We keep each one in a graph of its own, so
# that the cells around it stay modern.
#
# A **placeholder** is an input without a value. `session.run(what, feed_dict=...)` fills the placeholders and
# computes what you ask for.

# %%
v1 = tf.compat.v1

with tf.Graph().as_default() as graph:
    width = v1.placeholder(tf.float32, shape=[], name="width")
    height = v1.placeholder(tf.float32, shape=[], name="height")
    product = width * height
    print("while describing:", product)
    with v1.Session(graph=graph) as session:
        v1_area = session.run(product, feed_dict={width: 2.0, height: 3.0})
print("after session.run:", v1_area)
assert v1_area == area(tf.constant(2.0), tf.constant(3.0)).numpy()

# %% [markdown]
# **What changed**: the placeholder became the argument of a Python function, the graph is what `tf.function`
# records, and `session.run` became a call.
#
# **Variables** had to be initialised by an operation, and an assignment was an operation too, which did nothing
# until it was run. Here is the running mean.

# %%
with tf.Graph().as_default() as graph:
    value = v1.placeholder(tf.float32, shape=[], name="value")
    count = v1.get_variable("count", shape=[], initializer=v1.zeros_initializer(), trainable=False)
    mean = v1.get_variable("mean", shape=[], initializer=v1.zeros_initializer(), trainable=False)
    increase = v1.assign_add(count, 1.0)
    with tf.control_dependencies([increase]):  # without this line the order of the two is not defined
        update = v1.assign_add(mean, (value - mean) / count.read_value())
    with v1.Session(graph=graph) as session:
        session.run(v1.global_variables_initializer())
        v1_means = [float(session.run(update, {value: number})) for number in NUMBERS]
print("TF 1.x", v1_means)
print("modern", modern_means)
assert v1_means == modern_means

# %% [markdown]
# **What changed**: `control_dependencies` is hardly seen today. A `tf.function` keeps the order in which your code
# reads and writes variables.
#
# **`get_variable`** registers its variable in the graph under its name. Asking twice for the same name is the most
# famous error of TensorFlow 1.x. It was met daily in notebooks, where a cell is run twice.

# %%
with tf.Graph().as_default():
    v1.get_variable("w", shape=[2, 3])
    try:
        v1.get_variable("w", shape=[2, 3])
    except ValueError as error:
        already_exists = str(error)
print(already_exists.split(". ")[0])
assert "already exists" in already_exists

first, second = tf.Variable(1.0, name="w"), tf.Variable(2.0, name="w")
print("today two variables may carry one name, they stay two objects:", first is not second)

# %% [markdown]
# **What changed**: today a variable is a Python object and is shared by sharing the object. T_03 is about this.
#
# **The fit**: the same data, start, learning rate and number of steps. `tf.gradients` was the tape of its time:
# it added the gradient's operations to the graph.

# %%
with tf.Graph().as_default() as graph:
    x_in = v1.placeholder(tf.float32, [None], name="x")
    y_in = v1.placeholder(tf.float32, [None], name="y")
    v1_a = v1.get_variable("a", shape=[], initializer=v1.zeros_initializer())
    v1_b = v1.get_variable("b", shape=[], initializer=v1.zeros_initializer())
    loss = tf.reduce_mean((v1_a * x_in**2 + v1_b - y_in) ** 2)
    train = v1.train.GradientDescentOptimizer(LEARNING_RATE).minimize(loss)
    with v1.Session(graph=graph) as session:
        session.run(v1.global_variables_initializer())
        v1_history = []
        for _ in range(STEPS):
            before = session.run([v1_a, v1_b])
            loss_value, _ = session.run([loss, train], feed_dict={x_in: x_data, y_in: y_data})
            v1_history.append((*map(float, before), float(loss_value)))
        v1_final = session.run([v1_a, v1_b])

difference = np.abs(np.array(history) - np.array(v1_history)).max()
print(f"TF 1.x: a {v1_final[0]:.4f}, b {v1_final[1]:.4f}")
print(f"largest difference of a, b and loss over all {STEPS} steps: {difference:.1e}")
assert difference < 1e-6
np.testing.assert_allclose(v1_final, [a.numpy(), b.numpy()], atol=1e-6)

# %% [markdown]
# Both programs walk the same path, step by step. `GradientDescentOptimizer` is the line
# `a.assign_sub(LEARNING_RATE * gradient_a)` that we wrote out above; `keras.optimizers.SGD` is its name today.

# %% [markdown]
# ## Summary
# 1. A tensor is an array that cannot change; a variable is a place that can.
# 2. Types and shapes must fit; `tf.cast` converts, broadcasting stretches.
# 3. Code runs eagerly; `tf.function` records it once as a graph and then runs the graph.
# 4. `tf.GradientTape` gives gradients; gradient descent subtracts a small part of them.
# 5. TF 1.x described the graph by hand and ran it in a session; the arithmetic was the same.

# %%
assert abs(a.numpy() - best_a) < 0.01 and abs(b.numpy() - best_b) < 0.01, "gradient descent did not arrive"
report(a=a.numpy(), b=b.numpy(), speedup_of_tf_function=eager_ms / graph_ms)

# %% [markdown]
# ## Exercises
# 1. Raise `LEARNING_RATE` to 0.9, then to 2.5. What happens to the loss, and why?
# 2. Fit $y = a\,x^2 + c\,x + b$ to the same points. What should $c$ become?
# 3. Call `area(2, 3)` and `area(4, 5)` with Python numbers. How often is it traced?
#
# <details><summary>Outlines of the answers</summary>
#
# 1. At 0.9 it converges faster; at 2.5 each step overshoots by more than it corrects, and the loss grows without
#    bound. The limit is 2 divided by the largest curvature of the loss.
# 2. Add a variable `c`, one term and one line. `c` comes out near 0, as the true curve has no such term.
# 3. Once for each new pair of numbers, so twice. Pass tensors to avoid this.
# </details>
#
# **Next**: [T_02 A feed-forward network on MNIST](T_02_feedforward_mnist.ipynb)
