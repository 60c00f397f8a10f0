# %% [markdown]
# # A front of small networks from a folder of images
#
# One training run gives a network for each level of cost. The folder has a folder for each class in
# `train` and `test`; here the images are scikit-learn's digits, written as PNG files.

# %%
import pathlib

from PIL import Image
from sklearn.datasets import load_digits

from gpnas import data, deploy, train

digits = load_digits()
for row, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
    folder = pathlib.Path("images", "test" if row % 5 == 0 else "train", f"class_{label}")
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray((image * 15).astype("uint8")).save(folder / f"{row}.png")

# %% [markdown]
# The command line does the same, and writes files of the networks and a page about them:
#
# ```
# gpnas front --config=front --config.data.name=folder:images --workdir=front
# ```

# %%
config = train.front_config()
config.data.name, config.data.cache_dir = "folder:images", "cache"
config.model.name, config.model.widths = "lenet300", (64, 32)
config.train.epochs, config.branch_epochs = 8, 4
config.train.batch_size, config.train.checkpoint_seconds = 64, 0.0
config.front = (0.5, 0.25)
record = train.train_front(config, "front")

images = data.load("folder:images", cache_dir="cache")
for one in record["networks"]:
    finished = train.load_run(pathlib.Path("front", one["folder"]), data=images)
    small = deploy.compact_network(finished.plan.task.model, finished.variables, images.input_shape)
    error = finished.record["metrics"]["test_error_selected"]
    macs = small.macs(images.input_shape)
    print(f"{one['folder']}: {macs:,} MACs, {error:.1f} % of the test images wrong")
    assert error < 30
