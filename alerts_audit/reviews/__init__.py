"""What people do with the trail: reviewing episodes, looking at them, taking copies, and what that adds up to.

services     acknowledge, comment, mark as noise, link to an incident
viewing      who looked at what
exports      copies of a filtered list
statistics   how quickly alerts are answered and resolved, and which are noise
"""
