/* SPDX-License-Identifier: MIT */
/*
 * The number alone, in a file of its own, so that nothing else is compiled again for it.
 */
#include "base/build_time.h"

#ifndef COCO_BUILD_TIME_S
#define COCO_BUILD_TIME_S 0
#endif

const int64_t build_time_s = COCO_BUILD_TIME_S;
