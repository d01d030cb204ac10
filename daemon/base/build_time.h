/* SPDX-License-Identifier: MIT */
/*
 * When this program was built, seconds since 1970: a right clock never says less. The Makefile
 * takes SOURCE_DATE_EPOCH, else the last commit's date; 0 where neither is known.
 */
#pragma once

#include <stdint.h>

extern const int64_t build_time_s;
