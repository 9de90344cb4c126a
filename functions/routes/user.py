"""The user."""

from fastapi import APIRouter

router = APIRouter()
