"""What `easydl app` serves: the app behind a door that asks for the token of its address."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from arriving import ROUTES
from starlette.middleware import Middleware
from streamlit.starlette import App

from easydl.launch import TOKEN_VARIABLE
from easydl.workspace.door import Door

# Taken out of the environment, which the trainings inherit; started without one, nobody is let in.
token = os.environ.pop(TOKEN_VARIABLE, None) or secrets.token_urlsafe()
app = App(Path(__file__).with_name("main.py"), routes=ROUTES, middleware=[Middleware(Door, token=token)])
