"""Telling MNIST's digits apart: a convolutional network in TensorFlow, and LeNet in PyTorch."""

from __future__ import annotations

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import Exec, output, stage
from stagedml.stages.parameters import Count, NotNegative, Positive, ShareBelowOne
from stagedml.types import ConvnnMnist, LenetMnist, Mnist


@stage(ConvnnMnist, name="convnn-mnist")
def convnn_mnist(
    build: Build,
    *,
    mnist: Mnist,
    learning_rate: Positive = 1e-3,
    batch_size: Count = 32,
    epochs: Count = 6,
    seed: int = 0,
    checkpoint_every_s: Exec[NotNegative] = 60.0,
    weights: RefPath = output("weights.safetensors"),
    metrics: RefPath = output("metrics.json"),
    protocol: RefPath = output("protocol.json"),
) -> None:
    """Train the convolutional network of the first StagedML, by Adam, at a rate that falls linearly to 0.

    5 % of MNIST's train are held out: `eval_loss` and `eval_accuracy` are theirs. See `stagedml.ml.models.convnn`.
    """
    from stagedml.ml.models.convnn import train_convnn
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings
    from stagedml.ml.train.resume import Checkpoints

    build.message(f"to watch: tensorboard --logdir {build.log_dir}")
    adam = OptimizerSettings(learning_rate, warmup_share=0.0, weight_decay=0.0, clip_norm=0.0)
    train_convnn(
        build.path(mnist.mnist),
        training=TrainSettings(adam, epochs=epochs),
        batch_size=batch_size,
        seed=build.seed,
        output=build.outpath,
        log_dir=build.log_dir,
        progress=build.progress,
        checkpoints=Checkpoints(build.checkpoint_dir, every_s=checkpoint_every_s),
    )


@stage(LenetMnist, name="lenet-mnist")
def lenet_mnist(
    build: Build,
    *,
    mnist: Mnist,
    learning_rate: Positive = 0.05,
    momentum: ShareBelowOne = 0.9,
    batch_size: Count = 32,
    epochs: Count = 10,
    seed: int = 0,
    checkpoint_every_s: Exec[NotNegative] = 60.0,
    weights: RefPath = output("weights.safetensors"),
    metrics: RefPath = output("metrics.json"),
    protocol: RefPath = output("protocol.json"),
) -> None:
    """Train LeNet-5 in PyTorch, which `pip install 'stagedml[torch]'` brings, on a processor.

    LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition. All else as of `convnn_mnist`; see
    `stagedml.ml.models.lenet`.
    """
    from stagedml.ml.models.lenet import train_lenet
    from stagedml.ml.train.resume import Checkpoints

    train_lenet(
        build.path(mnist.mnist),
        learning_rate=learning_rate,
        momentum=momentum,
        batch_size=batch_size,
        epochs=epochs,
        seed=build.seed,
        output=build.outpath,
        progress=build.progress,
        checkpoints=Checkpoints(build.checkpoint_dir, every_s=checkpoint_every_s),
    )
