from pipelines.preprocess.preprocess import run
from pipelines.stage import stage_main

if __name__ == "__main__":
    stage_main("preprocess", run, kind="recipe")
