from pipelines.stage import stage_main
from pipelines.train.train import run

if __name__ == "__main__":
    stage_main("train", run, kind="recipe")
