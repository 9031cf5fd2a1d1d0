"""The stage validate: raw/ against its contract -> validated/, what breaks it into quarantine."""
