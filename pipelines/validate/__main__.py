from pipelines.stage import stage_main
from pipelines.validate.validate import run

if __name__ == "__main__":
    stage_main("validate", run)
