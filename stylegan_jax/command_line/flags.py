"""The flags of the command line: what each means, and which modes take it."""

from absl import flags
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "File of settings, or the name of one that comes with stylegan_jax: demo, or ffhq:8 with what its docstring says. "
    "With --mode=evaluate it can be left out: the settings are those of the run.",
    lock_config=True,
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder to write to: checkpoints, pictures and logs of a run.")
OF_WORKDIRS = ("train", "inspect", "plan", "prepare", "evaluate")  # Modes that need --workdir.
# Modes that take --network, and write to --out.
OF_PICTURES = ("generate", "figures", "interpolate", "project", "directions", "edit")
MODES = {
    "train": "train, or go on, in --workdir",
    "inspect": "say what data.source has in it and what training would do with it",
    "plan": "say how much memory and time training will take, by its compiled programs; see --topology",
    "prepare": "make a store of the pictures at --workdir, for data.source to name",
    "evaluate": "measure --metrics of the run in --workdir, of --network or of --fakes",
    "generate": "write the images of --seeds to the folder --out",
    "figures": "draw --figures of the paper, as PNGs in the folder --out",
    "interpolate": "write a film of a walk through --seeds to --out, a name ending with .mp4 or .gif",
    "project": "find the styles whose images are most like --pictures, and write them to the folder --out",
    "directions": "find directions in w, and write them to --out, a name ending with .safetensors",
    "edit": "move pictures along --directions, or toward another, and write them to the folder --out",
    "explore": "serve a page to play with --network in a browser; with several, or a run, its checkpoints side by side",
    "export": "write --network to --out, in the layout that the name's end tells",
    "weights": "say which weights metrics need, which are there, and where the others are published",
}
MODE = flags.DEFINE_enum("mode", "train", [*MODES], " ".join(f"{name}: {what}." for name, what in MODES.items()))
COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of process 0, where processes do not find each other; on Cloud TPU, in SLURM and in JobSets they do.",
)
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Number of processes of the run, with --coordinator; or 1, without it."
)
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process from 0, with --coordinator.")
TOPOLOGY = flags.DEFINE_string(
    "topology",
    None,
    "Devices to plan for with --mode=plan, instead of those at hand. TPUs need libtpu: v5e:4x4 or v5p:2x2x1. GPUs need "
    "their compiler: v100, a100, h100, h200 or b200, and their number, such as h100:8.",
)
CLASSES = flags.DEFINE_list(
    "classes",
    [],
    "Classes of a conditional network, by name or number: cat,dog,7. Put a name that has a comma in double "
    "quotes: --classes='\"salt, pepper\",7'.",
)
CHECKPOINT = flags.DEFINE_integer(
    "checkpoint",
    None,
    "Images of a checkpoint of a run, used instead of the newest. --mode=train goes back to it, once: newer "
    "checkpoints are moved to checkpoints/after-NIMG.",
)
INIT_FROM = flags.DEFINE_string(
    "init_from", None, "File or workdir of a network whose arrays a new run begins with, as far as they fit."
)
OUT = flags.DEFINE_string(
    "out",
    None,
    "Folder for the pictures that are made. File for the network of --mode=export: its end tells the layout, "
    ".safetensors, .npz, .pkl, .pth, .model, .stablehlo or .onnx; or hf://OWNER/NAME.",
)
LICENSE = flags.DEFINE_string(
    "license", None, "Licence of the weights, as their owner states it, for the card of --mode=export: CC BY-NC 4.0."
)
DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "float16"],
    "Arrays in the .safetensors or .npz of --mode=export; float16 rounds them, for a file of half the size.",
)
WEIGHTS = flags.DEFINE_string(
    "weights", None, "Folder of the weights that metrics need, instead of ~/.cache/stylegan_jax/weights."
)
DOWNLOAD = flags.DEFINE_list(
    "download", [], "Published files to fetch with --mode=weights, by name: vgg16.ckpt,vgg.pth."
)
METRICS = flags.DEFINE_list(
    "metrics",
    [],
    "Metrics of --mode=evaluate, such as fid50k,ppl_wend; fid50k:5000 is the same with 5,000 images. A wrong name is "
    "answered with all names.",
)
NETWORK = flags.DEFINE_string(
    "network",
    None,
    "Network: a file of weights, whatever `stylegan_jax.load` opens, a run's workdir, or a checkpoint in it. "
    "--mode=evaluate takes --workdir's run without it; --mode=explore takes several, with commas between them.",
)
HOST = flags.DEFINE_string(
    "host",
    "127.0.0.1",
    "Address or name of this machine that --mode=explore is served at. With the default only programs of this machine "
    "reach the page; with 0.0.0.0 everyone who reaches the machine does.",
)
PORT = flags.DEFINE_integer(
    "port", 8000, "Port that --mode=explore is served at; 0 for a free one.", lower_bound=0, upper_bound=2**16 - 1
)
FAKES = flags.DEFINE_string(
    "fakes", None, "Pictures for --mode=evaluate to measure in place of a network's: whatever data.source can name."
)
REALS = flags.DEFINE_string(
    "reals", None, "Real pictures for --mode=evaluate to compare with, instead of the data.source of the settings."
)
SEEDS = flags.DEFINE_list(
    "seeds",
    ["0"],
    "Numbers of images: 0-999 or 5,7. Of --mode=evaluate, seeds of the draws; with several, the spread of each number "
    "over them is shown.",
)
PSI = flags.DEFINE_float("psi", 1.0, "Scale of the styles about their mean (truncation): 0.7 for better images.")
CUTOFF = flags.DEFINE_integer(
    "cutoff", None, "Number of layers that --psi acts on, such as 8; all without it.", lower_bound=1
)
NOISE = flags.DEFINE_enum(
    "noise",
    "const",
    ["const", "random", "none"],
    "Noise of images. const: the network's own maps, or, where it has none, one set for all images, drawn from "
    "--noise_seed. random: maps for each image, drawn from --noise_seed and its seed. none: zeros.",
)
NOISE_SEED = flags.DEFINE_integer("noise_seed", 0, "Seed of the noise that is drawn.")
GRID = flags.DEFINE_bool("grid", False, "Write one picture of all images, in place of files.")
PICTURES = flags.DEFINE_string(
    "pictures", None, "Pictures for --mode=project: whatever data.source can name, such as a folder."
)
STEPS = flags.DEFINE_integer("steps", 400, "Steps of --mode=project for each picture; more come nearer.", lower_bound=1)
START = flags.DEFINE_string(
    "start", None, "Folder of an earlier --mode=project of the same pictures, whose styles it goes on from."
)
ATTRIBUTES = flags.DEFINE_string(
    "attributes",
    None,
    "What linear separability asks of images with --mode=evaluate: celeba (NVIDIA's 40 classifiers; the default), "
    "faces (the 34 attributes of procedural faces) or a file of experiments/attribute_network. What --find=svm parts "
    "images by: the same, or a .csv with a line seed,NAME,NAME... and a line of numbers for each image, above 0 where "
    "it has the attribute.",
)
A_NETWORK = "a file of weights, a run's workdir, or a checkpoint in it"
MOST_SEEDS = 1000  # Of --mode=evaluate.
FIGURES = flags.DEFINE_list(
    "figures",
    ["uncurated", "style_mixing", "stochastic_variation", "noise_layers", "truncation"],
    "Figures to draw with --mode=figures; also bedrooms, cars and cats, the layouts of LSUN.",
)
FRAMES = flags.DEFINE_integer("frames", 60, "Frames from one seed to the next with --mode=interpolate.", lower_bound=1)
FPS = flags.DEFINE_integer("fps", 30, "Frames a second of a film.", lower_bound=1)
LOOP = flags.DEFINE_bool("loop", False, "Whether a film goes back to its first seed, so that it can be repeated.")
SPACE = flags.DEFINE_enum(
    "space",
    None,
    ["w", "z", "w+", "w+noise"],
    "Where a film walks: w, on straight lines, its default; z, on great circles. What --mode=project looks for: w, one "
    "style for all layers; w+, a style for each, its default; w+noise, the noise too.",
)
LAYERS = flags.DEFINE_list("layers", [], "Layers that change, such as 0-3,8; all without it.")
MOST_LAYERS = 18
FIND = flags.DEFINE_enum(
    "find",
    None,
    ["svm", "svm_layers", "pca", "sefa"],
    "svm: linear SVM of w on --attributes of the images of --seeds (InterFaceGAN). svm_layers: the same with a w for "
    "each resolution. pca: components of the w of --seeds (GANSpace). sefa: from the style weights of --layers (SeFa).",
)
DIRECTIONS = flags.DEFINE_list(
    "directions",
    [],
    "Files of directions: of --mode=directions, or people's .npy, .npz or .safetensors: [w_size] or [layers, w_size]. "
    "--mode=explore has a slider for each.",
)
APPLY = flags.DEFINE_list("apply", [], "Names of the --directions to move along; all without it.")
HOLD = flags.DEFINE_list(
    "hold", [], "Names of --directions whose attributes stay as they are (conditional directions); or all, the others."
)
STRENGTHS = flags.DEFINE_list(
    "strengths",
    ["-3", "0", "3"],
    "How far to move: 1 is one standard deviation of w along a direction that was found here, the vector itself along "
    "another's, and the whole way with --toward.",
)
WS = flags.DEFINE_list("ws", [], "Files of pictures' styles to edit, in place of --seeds: projections, or .npy.")
TOWARD = flags.DEFINE_string(
    "toward", None, "Picture whose styles of --layers others move toward: such a file, or the number of a seed."
)
MOST_IMAGES = 10_000_000
MODES_OF_FLAGS = {
    "workdir": OF_WORKDIRS, "config": (*OF_WORKDIRS, "project"),
    "weights": ("weights", "evaluate", "train", "project", "directions"),
    "download": ("weights",), "topology": ("plan",), "classes": OF_PICTURES, "out": (*OF_PICTURES, "export"),
    **dict.fromkeys(("frames", "fps", "loop"), ("interpolate",)), "figures": ("figures",),
    "license": ("export",), "dtype": ("export",),
    "checkpoint": (*OF_PICTURES, "evaluate", "export", "train"), "init_from": ("train",),
    "network": (*OF_PICTURES, "explore", "evaluate", "export"), "grid": ("generate", "edit"),
    "host": ("explore",), "port": ("explore",),
    "seeds": ("evaluate", "generate", "interpolate", "directions", "edit"),
    "layers": ("interpolate", "directions", "edit"), "attributes": ("evaluate", "directions"), "find": ("directions",),
    **dict.fromkeys(("metrics", "fakes", "reals"), ("evaluate",)),
    **dict.fromkeys(("apply", "hold", "strengths", "ws", "toward"), ("edit",)), "directions": ("edit", "explore"),
    **dict.fromkeys(("psi", "cutoff", "noise", "noise_seed"), ("generate", "interpolate", "edit")),
    **dict.fromkeys(("pictures", "steps", "start"), ("project",)), "space": ("interpolate", "project"),
}  # fmt: skip
