# Takes FALCONN's headers from its pinned source package and sets falconn_folder.
#
# Its setup.py cannot build on Python 3.11 and newer, because the pybind11 that it bundles is too old; the headers are
# sound. They are not copied into this repository: pip fetches them, with the hash that falconn-sdist.txt pins.
set(version 1.3.1)
set(archive_name FALCONN-${version}.tar.gz)
set(requirement ${CMAKE_CURRENT_SOURCE_DIR}/falconn-sdist.txt)
file(STRINGS ${requirement} pin REGEX "^falconn==${version} ")
string(REGEX REPLACE ".*sha256:([0-9a-f]+).*" "\\1" expected "${pin}")

set(folder ${CMAKE_CURRENT_BINARY_DIR}/falconn)
file(MAKE_DIRECTORY ${folder})
if(DEFINED ENV{FALCONN_SDIST})
  set(archive $ENV{FALCONN_SDIST})
  if(NOT EXISTS ${archive} OR IS_DIRECTORY ${archive})
    message(FATAL_ERROR "ris_core/native: FALCONN_SDIST names '${archive}', which is no file. Set it to the path of "
      "${archive_name} from https://pypi.org/project/FALCONN/#files, or unset it to let pip fetch that file.")
  endif()
else()
  set(archive ${folder}/${archive_name})
  # pip reads the package's metadata by running its setup.py in an environment of its own, which needs setuptools from
  # the index: --no-binary for this package alone lets that come as a wheel.
  execute_process(
    COMMAND ${Python_EXECUTABLE} -m pip download --no-deps --no-binary falconn --require-hashes
            --disable-pip-version-check --no-input -q -r ${requirement} -d ${folder}
    RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said)
  if(failed OR NOT EXISTS ${archive})
    message(FATAL_ERROR "ris_core/native: pip could not fetch the source package falconn==${version}.\n${said}\n"
      "Without network, fetch ${archive_name} from https://pypi.org/project/FALCONN/#files elsewhere, set "
      "FALCONN_SDIST to its path, and install again. To do without FALCONN, set RIS_FALCONN=OFF: every other engine "
      "then works.")
  endif()
endif()

file(SHA256 ${archive} found)
if(NOT found STREQUAL expected)
  message(FATAL_ERROR "ris_core/native: ${archive} is not the pinned source package of FALCONN ${version}.\n"
    "  expected sha256 ${expected}\n  found    sha256 ${found}\n"
    "Fetch ${archive_name} again from https://pypi.org/project/FALCONN/#files.")
endif()

file(ARCHIVE_EXTRACT INPUT ${archive} DESTINATION ${folder}
  PATTERNS "FALCONN-${version}/include/*" "FALCONN-${version}/external/eigen/Eigen/*" "FALCONN-${version}/LICENSE.txt")
set(falconn_folder ${folder}/FALCONN-${version})
