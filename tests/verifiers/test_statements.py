"""Which statements say that equality is not it, or that letter case is free."""

import json
import time

import pytest
from tests.shared_data import shared

from openklear.verifiers.statements import checker_said, needs_checker, takes_any_case


@pytest.mark.parametrize(
    "statement",
    [
        "If there are multiple answers, print any.",
        "If there are several solutions, output any of them.",
        "If there is more than one possible array, you may print any one of them.",
        "If multiple answers exist, you can print any.",
        "Print any valid permutation.",
        "You may return any solution.",
        "Find any such pair and print it.",
        "Any of them will be accepted.",
        "Any valid answer is accepted.",
        "You can return the answer in any order.",
        "Print the numbers, in arbitrary order.",
        "Note that the returned array may be in any order.",
        "Your answer is correct if its absolute or relative error does not exceed $10^{-6}$.",
        "Answers within 10^-5 of the actual value will be accepted.",
        "Answers within 10-5 of the actual value will be accepted.",
    ],
)
def test_statements_that_take_other_answers(statement):
    assert needs_checker(f"Read n. {statement} Note: n is odd.")


@pytest.mark.parametrize(
    "statement",
    [
        "You may perform the operations in any order. Print the smallest sum.",
        "He can drink the cups in any order.",
        "A permutation is an array of the numbers from 1 to n in arbitrary order.",
        "Return the maximum number of components in any valid split of the tree.",
        "If there are several possible variants, output the one in which the price is maximal.",
        "If there are multiple such strings, print the lexicographically smallest one.",
        "Given a string s, find any substring of length 2 which is also present in the reverse of s.",
        "Print the answer modulo 10^9 + 7.",
        "The tree has no multiple edges. Output the length of any longest path.",
        "Print -1 if there is no answer.",
        "A point is within distance 10 of the origin.",
        "You can use any road several times.",
        "In one move you can choose any pair of adjacent elements and swap them. Print the number of moves.",
        "Find the smallest number of operations that can be done in any order.",
        "Print YES if any subset of the array sums to k.",
    ],
)
def test_statements_with_one_answer(statement):
    assert not needs_checker(statement)


def test_real_statements():
    """Every one that fires was read: 19 take any of several answers or any order, 2 take a tolerance; none of taco."""
    named = [json.loads(line) for line in shared("train/leetcode_functional.jsonl").read_text().splitlines()]
    found = [row["id"].removeprefix("leetcode_") for row in named if needs_checker(row["problem"])]
    assert found == [
        *("test-22", "test-30", "test-31", "test-50", "test-65", "test-77", "test-175"),
        *("train-0", "train-15", "train-22", "train-35", "train-64", "train-67", "train-114", "train-122"),
        *("train-137", "train-165", "train-172", "train-213", "train-296", "train-391"),
    ]
    taco = [json.loads(line)["problem"] for line in shared("train/taco_stdin.jsonl").read_text().splitlines()]
    assert not any(map(needs_checker, taco))


@pytest.mark.parametrize(
    "statement",
    [
        "If there are multiple answers satisfying the above conditions, anyone will do.",
        "If there are multiple possible answers, you are allowed to print anyone.",
        "In case of multiple possible answers, print any.",
        "If several solutions exist, any is accepted.",
        "If there are several ways to do it,\nyou can print any\nof them.",
        "When several answers are possible, all of them will be accepted.",
        "If more than one solution exists, choose any.",
        "If there are multiple solutions, print one of them.",
        "Construct any sequence satisfying the properties above.",
        "Find any non-empty string s that matches them, or determine that there is no such string.",
        "Print any two pairs of vertices satisfying the conditions.",
        "Print n lines \u2014 any binary matrix which satisfies the constraints.",
        "Output any k distinct numbers whose sum is n.",
        "Return any of the longest palindromic substrings.",
        "Find one valid partition or determine that it doesn't exist.",
        "Print one of the shortest paths.",
        "Output one way to arrange the parts.",
        "Print an example of such an array.",
        "Output a possible arrangement.",
        "Find a permutation that is good or report that there is none.",
        "Your task is to construct a tree with n vertices such that its depth is d.",
        "Any output that satisfies the conditions will be considered correct.",
        "Note that your answer may differ from the sample.",
        "You don't have to minimize the number of operations.",
        "The order of the output does not matter.",
        "You may list the edges; print them in no particular order.",
        "Your answer is accepted if it differs from the correct one by at most 10 - 9.",
        "The sides should not differ by more than 0.01 in absolute value from the correct lengths.",
        "An error of 10^{-6} is allowed.",
        "Print the result with precision 1e-6.",
        "Print at least 6 digits after the decimal point.",
        "Errors up to 1e-5 will be tolerated.",
        "The numbers may be listed in any order.",
        "Return the answer in <strong>any order</strong>.",
        "Print **any** of them.",
        "You don\u2019t have to minimize the number of operations.",
        "\u5982\u679c\u6709\u591a\u4e2a\u89e3\uff0c\u8f93\u51fa\u4efb\u610f\u4e00\u4e2a\u5373\u53ef\u3002",
    ],
)
def test_more_statements_that_take_other_answers(statement):
    assert needs_checker(f"Read n. {statement} Note: n is odd.")


@pytest.mark.parametrize(
    "statement",
    [
        "Print either YES or NO.",
        "Print the minimum time to visit all cities in any order.",
        "Print Yes if he can eat the candies in any order.",
        "Given several strings, return the longest common prefix of any of them.",
        "Return the maximum difference between any two elements.",
        "Print either of the two outcomes: WIN or LOSE.",
        "Output one of the words YES and NO.",
        "Print whether any path exists.",
        "Print Yes if there is a valid permutation, otherwise No.",
        "If you cannot find any such pair, print -1.",
        "The algorithm has two steps. 1. Find any subsequence. 2. Remove it. Print what is left.",
        "If there are multiple candidates to lead a group, you can select any of them.",
        "There are several cities; you can travel from any city to any other.",
        "In case of multiple test cases do not print any blank lines.",
        "Print the absolute difference |10 - 1|.",
        "Print ERROR if the number is less than 10.",
        "Print the number rounded to 2 decimal places.",
        "The order of the operations does not matter. Print how many there are.",
        "Count the arrays that can be obtained in any order of merging.",
        "You plan to build a tree using some of them. Print the largest value.",
        "If there are many answers, print the one with the maximum sum.",
        "It is possible to construct a graph with 0 isolated vertices.",
    ],
)
def test_more_statements_with_one_answer(statement):
    assert not needs_checker(f"Read n. {statement} Note: n is odd.")


@pytest.mark.parametrize(
    "statement",
    [
        "You can print each letter in any case.",
        "You can print each letter\nin any case (upper or lower).",
        "You can choose the case (lower or upper) for each letter arbitrary.",
        "You can output YES and NO in any case (for example, yEs will be taken).",
        "The strings \u201cyEs\u201d, \u201cyes\u201d and \u201cYES\u201d will all be treated as identical.",
        "Both 'YES' and 'yes' are accepted.",
        "All letters can be displayed in any case.",
        "You can print characters in any register.",
        "You may print each character of each string in uppercase or lowercase.",
        "The output is case insensitive.",
        "For each polygon, print YES if it's beautiful or NO otherwise (case insensitive).",
        "Print YES or NO (in any case).",
        "The answer is not case-sensitive.",
        "The case of the letters in the output does not matter.",
        "The checker ignores case.",
        "The verdict may be in upper or lower case.",
        "You can print each letter in *any* case.",
        "The output is case\u2011insensitive.",
    ],
)
def test_statements_that_take_letters_in_any_case(statement):
    assert takes_any_case(f"Read n. {statement} Note: n is odd.")
    assert checker_said(statement) == "anycase"
    assert checker_said(f"{statement} If there are several answers, print any.") is None


@pytest.mark.parametrize(
    "statement",
    [
        "In any case, print the number of moves.",
        "The string consists of uppercase and lowercase letters. Print it reversed.",
        "You can change each letter to uppercase or lowercase. Print the fewest changes.",
        "Count the sections repeating the same word (case insensitive).",
        "The comparison of names is case-insensitive; print the smallest name.",
        "Print each letter in uppercase if it is a vowel or in lowercase otherwise.",
        "Print the string in upper case.",
        "For each test case, print YES or NO.",
        "Please note that the checker is case-sensitive.",
        "The input is case-insensitive.",
        "A letter can be in any case in the input.",
        "Return true if the string is a palindrome, ignoring case.",
    ],
)
def test_statements_where_case_counts(statement):
    assert not takes_any_case(statement)
    assert checker_said(statement) is None


FLOODS = [
    "any ",
    "print any ",
    "multiple answers ",
    "x",
    "a-",
    " ",
    "\n",
    "10",
    "error 1",
    "can print ",
    "0.0",
    "yes ",
    "find ",
]


@pytest.mark.parametrize("piece", FLOODS)
def test_a_flood_is_read_in_no_time(piece):
    statement = "print YES in any of multiple " + piece * (1_000_000 // len(piece))
    start = time.process_time()
    checker_said(statement)
    needs_checker(statement)
    assert time.process_time() - start < 6.0  # a quadratic pass would take minutes
