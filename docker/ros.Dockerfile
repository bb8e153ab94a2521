# The nodes on an apt ROS 2: docker build -f docker/ros.Dockerfile --build-arg ROS_DISTRO=jazzy -t scal3r_ros:jazzy .
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}

ARG TORCH_INDEX=
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 libgl1 libgomp1 libx11-6 python3-colcon-common-extensions python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /ws
COPY requirements/ /tmp/requirements/
# The environment sees ROS's own Python packages; pip's must not be mixed into the distribution's.
RUN python3 -m venv --system-site-packages /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} \
    -r /tmp/requirements/runtime.txt -c /tmp/requirements/constraints.txt
ENV PATH=/opt/venv/bin:${PATH}
COPY . src/scal3r_ros/
# hadolint ignore=DL3008,SC1090
RUN . "/opt/ros/${ROS_DISTRO}/setup.bash" \
    && apt-get update && rosdep update && rosdep install --from-paths src --ignore-src -y \
    && colcon build --packages-select scal3r_ros \
    && rm -rf /var/lib/apt/lists/*
ENTRYPOINT ["/bin/bash", "-c", ". /opt/ros/${ROS_DISTRO}/setup.bash && . /ws/install/setup.bash && exec \"$@\"", "--"]
CMD ["ros2", "launch", "scal3r_ros", "mapping.launch.py"]
