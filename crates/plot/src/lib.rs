//! SVG charts for the training report and for cpumon's heat map.
