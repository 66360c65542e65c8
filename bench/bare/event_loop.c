// The least that reading MIDI files takes: each event looked at once, each note off paired with the oldest note on of its
// channel and pitch. No limits, no tracks, no bars, and only chunks are held to their length: for the bench's own files.
#include <stdint.h>
#include <string.h>

struct note {
    uint32_t onset, duration;
    int32_t next;
    uint8_t pitch, velocity;
};

static uint32_t number(const uint8_t** p) {
    uint32_t value = 0, byte;
    do {
        byte = *(*p)++;
        value = value << 7 | (byte & 0x7F);
    } while (byte & 0x80);
    return value;
}

static int64_t read_track(const uint8_t* p, const uint8_t* end, struct note* notes, int64_t count) {
    int32_t oldest[16 * 128], newest[16 * 128];
    memset(oldest, 0xFF, sizeof oldest);
    uint32_t tick = 0;
    uint8_t status = 0;
    while (p < end) {
        tick += *p < 0x80 ? *p++ : number(&p);
        if (*p >= 0xF0) {
            const uint8_t kind = *p++;
            if (kind == 0xFF && *p++ == 0x2F) break;
            const uint32_t length = number(&p);
            p += length;
            continue;
        }
        if (*p >= 0x80) status = *p++;
        const uint8_t kind = status & 0xF0;
        if (kind == 0xC0 || kind == 0xD0) {
            ++p;
        } else {
            const unsigned key = (unsigned)(status & 0x0F) << 7 | (p[0] & 0x7F);
            if (kind == 0x90 && p[1] != 0) {
                notes[count] = (struct note){tick, UINT32_MAX, -1, p[0], p[1]};
                if (oldest[key] < 0) {
                    oldest[key] = (int32_t)count;
                } else {
                    notes[newest[key]].next = (int32_t)count;
                }
                newest[key] = (int32_t)count++;
            } else if (kind <= 0x90 && oldest[key] >= 0) {
                struct note* const note = notes + oldest[key];
                note->duration = tick - note->onset;
                oldest[key] = note->next;
            }
            p += 2;
        }
    }
    return count;
}

// How many notes there are in files data[offsets[i] .. offsets[i + 1]); `notes` has room for those of any one file.
int64_t event_loop(const uint8_t* data, const int64_t* offsets, int64_t files, struct note* notes) {
    int64_t total = 0;
    for (int64_t file = 0; file < files; ++file) {
        const uint8_t* p = data + offsets[file] + 14;
        const uint8_t* const end = data + offsets[file + 1];
        int64_t count = 0;
        while (p + 8 <= end) {
            const uint32_t length = (uint32_t)p[4] << 24 | (uint32_t)p[5] << 16 | (uint32_t)p[6] << 8 | p[7];
            if (memcmp(p, "MTrk", 4) == 0) count = read_track(p + 8, p + 8 + length, notes, count);
            p += 8 + length;
        }
        total += count;
    }
    return total;
}
