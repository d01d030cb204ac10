/* SPDX-License-Identifier: MIT */
/*
 * The certificate table. The first byte says what the rest is: even, a table; odd, {kind, length}
 * pairs from which a table is built, encoded and decoded again.
 */
#include "fuzz/snp_table_oracle.h"

static void build(const uint8_t *data, size_t size)
{
    static uint8_t blob[256], out[COCO_SNP_TABLE_MAX];
    struct coco_snp_table table = {0}, again;
    size_t used = 0;

    for (size_t i = 0; i + 1 < size; i += 2) {
        int r = coco_snp_table_add(&table, (enum coco_snp_kind)(data[i] % 8), blob, data[i + 1]);
        bool wrong = data[i] % 8 >= COCO_SNP_OTHER || data[i + 1] == 0;

        if (wrong)
            REQUIRE(r == -EINVAL);
        else if (used == COCO_SNP_TABLE_ENTRIES_MAX)
            REQUIRE(r == -EMSGSIZE);
        else
            REQUIRE(r == 0 && table.n_entries == used + 1);
        used = table.n_entries;
    }
    size_t expected = COCO_SNP_ENTRY_SIZE * (used + 1);
    for (size_t i = 0; i < used; i++)
        expected += table.entries[i].length;
    REQUIRE(coco_snp_table_encode(&table, out, sizeof(out)) == 0);
    REQUIRE(table.size == expected);
    REQUIRE(coco_snp_table_decode(out, sizeof(out), &again) == 0);
    REQUIRE(again.n_entries == used && again.size == expected);
    REQUIRE(snp_table_oracle(out, expected) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] % 2 == 0)
        snp_table_oracle(data + 1, size - 1);
    else
        build(data + 1, size - 1);
    return 0;
}
